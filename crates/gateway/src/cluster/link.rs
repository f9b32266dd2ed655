//! Requests between nodes: TLS with the provider's certificates on both sides, each request signed by its node.

use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::mimi_client::address::Pinned;
use crate::tls::{self, PeerTrust};
use async_trait::async_trait;
use event_graph::SigningIdentity;
use lane::{Answer, Call, Link, LinkError, Member, NodeName, PREFIX};
use mimi_wire::Domain;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The way to the other nodes.
pub(super) struct HttpLink {
    identity: SigningIdentity,
    provider: Domain,
    tls: rustls::ClientConfig,
    clients: Mutex<HashMap<String, reqwest::Client>>,
}

impl HttpLink {
    pub(super) fn new(config: &Config, identity: SigningIdentity) -> Result<Self, Failure> {
        let own = tls::own_certificate(config)?;
        let trust = PeerTrust::new(config)?;
        Ok(Self {
            identity,
            provider: config.provider.domain.0.clone(),
            tls: tls::peer_client(&own, trust.own_verifier())?,
            clients: Mutex::default(),
        })
    }

    /// A client that leads the provider's name to one node.
    async fn client(&self, address: &str) -> Result<reqwest::Client, Failure> {
        let known = |clients: &Mutex<HashMap<String, reqwest::Client>>| {
            clients
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(address)
                .cloned()
        };
        if let Some(client) = known(&self.clients) {
            return Ok(client);
        }
        let failure = |why: String| Failure::new(Code::Internal, why, "check the node's address");
        let mut found = tokio::net::lookup_host(address)
            .await
            .map_err(|e| failure(format!("{address}: {e}")))?;
        let found = found
            .next()
            .ok_or_else(|| failure(format!("{address} has no address")))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .https_only(true)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            .user_agent(concat!("causeway/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Pinned(found)))
            .build()
            .map_err(|e| failure(e.to_string()))?;
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address.to_owned(), client.clone());
        Ok(client)
    }
}

#[async_trait]
impl Link for HttpLink {
    async fn call(&self, to: &NodeName, member: &Member, call: Call) -> Result<Answer, LinkError> {
        let away = |why: String| LinkError::Unreachable {
            node: to.clone(),
            why,
        };
        let client = self.client(&member.address).await.map_err(|e| away(e.cause()))?;
        let target = format!("{PREFIX}{}", call.path);
        let authorization = lane::sign(&self.identity, call.method, &target, to, &call.body);
        let method = Method::from_bytes(call.method.as_bytes()).map_err(|e| away(e.to_string()))?;
        let sent = client
            .request(method, format!("https://{}{target}", self.provider))
            .header(AUTHORIZATION, authorization)
            .timeout(call.timeout)
            .body(call.body)
            .send()
            .await;
        let failed = |e: reqwest::Error| {
            // It may have moved.
            self.clients
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&member.address);
            away(crate::mimi_client::chain(&e.without_url()))
        };
        let response = sent.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(failed)?;
        Ok(Answer { status, body })
    }
}
