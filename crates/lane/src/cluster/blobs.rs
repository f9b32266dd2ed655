//! Blobs, which are not in the log: at the majority before a decision names them, fetched by their hash where missing.

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use futures_util::future::join_all;
use store::{BlobHash, StoreError};
use tokio::sync::mpsc;

use super::{Cluster, answer, unavailable};
use crate::network::{LinkError, ask};
use crate::rpc::{self, Call};
use crate::types::NodeName;

impl Cluster {
    /// Gives a blob to the other nodes; returns when the majority has it, this node included.
    pub(crate) async fn spread(&self, hash: &BlobHash, bytes: Bytes) -> Result<(), StoreError> {
        let voters: Vec<NodeName> = self.lane()?.voter_ids().collect();
        let needed = voters.len() / 2;
        if needed == 0 {
            return Ok(());
        }
        let (done, mut got) = mpsc::channel(voters.len());
        for (name, member) in self
            .others()
            .into_iter()
            .filter(|(name, _)| voters.contains(name))
        {
            let (link, done) = (self.0.link.clone(), done.clone());
            let call = Call {
                method: "PUT",
                ..Call::post(answer::blob(hash), bytes.clone(), self.0.settings.commit)
            };
            tokio::spawn(async move {
                if ask(link.as_ref(), &name, &member, call).await.is_ok() {
                    let _ = done.send(()).await;
                }
            });
        }
        drop(done);
        let enough = async {
            for _ in 0..needed {
                got.recv().await.ok_or("too few nodes have the blob")?;
            }
            Ok::<(), &str>(())
        };
        self.within(enough).await
    }

    /// Gets a blob from whoever has it, checks it and keeps it. None only where all members say that they lack it: one
    /// that doesn't answer may have it.
    pub(crate) async fn pull(&self, hash: &BlobHash) -> Result<Option<Bytes>, StoreError> {
        let members = self.members();
        let mut silent = None;
        for (name, member) in self.others() {
            let call = Call {
                method: "GET",
                ..Call::post(answer::blob(hash), Bytes::new(), self.0.settings.commit)
            };
            match ask(self.0.link.as_ref(), &name, &member, call).await {
                Ok(bytes) if BlobHash::of(&bytes) == *hash => {
                    self.0.local.blob_put(bytes.clone()).await?;
                    return Ok(Some(bytes));
                }
                Ok(_) => {
                    tracing::error!(node = %name, blob = %hash, "a node gave out other octets under a blob's hash");
                }
                Err(LinkError::Refused { status: 404, .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, blob = %hash, "a blob can't be fetched");
                    if members.as_ref().is_none_or(|members| members.contains_key(&name)) {
                        silent = Some(error);
                    }
                }
            }
        }
        silent.map_or(Ok(None), |error| Err(unavailable(error)))
    }

    /// Fetches the blobs that the node that leads has and this one lacks.
    #[boxed]
    pub async fn fetch_blobs(&self) -> Result<usize, StoreError> {
        let Some((leader, member)) = self.leader() else {
            return Ok(0);
        };
        let mut fetched = 0;
        let mut after = String::new();
        loop {
            let call = Call {
                method: "GET",
                ..Call::post(
                    format!("{}{after}", rpc::BLOBS),
                    Bytes::new(),
                    self.0.settings.commit,
                )
            };
            let page = ask(self.0.link.as_ref(), &leader, &member, call)
                .await
                .map_err(unavailable)?;
            let page: Vec<String> = serde_json::from_slice(&page).map_err(unavailable)?;
            let Some(last) = page.last().cloned() else {
                return Ok(fetched);
            };
            let hashes: Vec<BlobHash> = page.iter().filter_map(|hash| hash.parse().ok()).collect();
            let pulls = hashes.iter().map(|hash| async move {
                match self.0.local.blob_get(hash).await {
                    Ok(None) => self.pull(hash).await.map(|pulled| usize::from(pulled.is_some())),
                    Ok(Some(_)) => Ok(0),
                    Err(error) => Err(error),
                }
            });
            for pulled in join_all(pulls).await {
                fetched += pulled?;
            }
            after = last;
        }
    }
}
