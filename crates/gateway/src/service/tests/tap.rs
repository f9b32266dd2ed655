//! A place on the way from one provider to another that holds the certificates of both: what passes it can be held up,
//! doubled, or put into another order.

use super::*;
use crate::mimi_client::Answer;
use crate::tls::{OwnCertificate, mimi_client, roots};
use crate::web::{Listener, StopHandle, stop_pair};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Uri};
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::sync::{mpsc, oneshot};

pub(super) struct Tap {
    way: Arc<Way>,
    caught: tokio::sync::Mutex<mpsc::UnboundedReceiver<Caught>>,
    _open: StopHandle,
}

struct Way {
    to: Domain,
    http: reqwest::Client,
    catching: Mutex<Option<Endpoint>>,
    caught: mpsc::UnboundedSender<Caught>,
}

/// A request that waits for what is done with it.
pub(super) struct Caught {
    pub(super) request: Passing,
    answer: oneshot::Sender<Answer>,
}

/// A request as it was sent.
#[derive(Clone)]
pub(super) struct Passing {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Tap {
    /// On the way from one provider to another, neither of which has been started.
    pub(super) async fn between(folder: &Path, from: &mut Config, to: &Config) -> Self {
        let ca = DevCa::open(&folder.join("ca")).unwrap();
        let mimi = &from.mimi;
        let own = OwnCertificate::load(&from.path(&mimi.certificate), &from.path(&mimi.key)).unwrap();
        let tls = mimi_client(&own, Arc::new(roots([ca.certificate()]).unwrap())).unwrap();
        let to_domain = to.provider.domain.0.clone();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .resolve(to_domain.as_str(), to.mimi.listen)
            .no_proxy()
            .build()
            .unwrap();
        let (caught, catches) = mpsc::unbounded_channel();
        let way = Arc::new(Way {
            to: to_domain,
            http,
            catching: Mutex::default(),
            caught,
        });
        let router = Router::new().fallback(pass).with_state(way.clone());
        let live = Live::load(to).unwrap();
        let tls: TlsSource = Arc::new(move || live.now().mimi.clone());
        let address = SocketAddr::from((loopback(), 8443));
        let listener = Listener::bind("tap", address, Some(tls), router, &to.limits)
            .await
            .unwrap();
        let peer = from.peers.get_mut(&to.provider.domain).unwrap();
        peer.address = Some(address);
        let (open, stop) = stop_pair();
        tokio::spawn(listener.run(stop));
        Self {
            way,
            caught: tokio::sync::Mutex::new(catches),
            _open: open,
        }
    }

    /// From here on requests to an endpoint wait for what is done with them, or, again, to none.
    pub(super) fn catch(&self, endpoint: Option<Endpoint>) {
        *self.way.catching.lock().unwrap() = endpoint;
    }

    /// The next request that is caught.
    pub(super) async fn next(&self) -> Caught {
        self.caught.lock().await.recv().await.unwrap()
    }

    /// Brings a request to where it was sent.
    pub(super) async fn carry(&self, request: &Passing) -> Answer {
        self.way.carry(request).await
    }

    /// What is notified next, as often as that; the sender is told that each has arrived.
    pub(super) async fn take(&self, count: usize) -> Vec<Passing> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let caught = self.next().await;
            taken.push(caught.request.clone());
            caught.answered(StatusCode::CREATED);
        }
        taken
    }

    /// Brings notifies in this order, each twice, until all are taken. Gives how many were turned away for a while.
    pub(super) async fn deliver(&self, notifies: Vec<Passing>) -> usize {
        let mut waiting = VecDeque::from(notifies);
        let mut turned_away = 0;
        while let Some(notify) = waiting.pop_front() {
            match self.carry(&notify).await.status {
                StatusCode::CREATED => {
                    assert_eq!(self.carry(&notify).await.status, StatusCode::CREATED);
                }
                StatusCode::SERVICE_UNAVAILABLE => {
                    turned_away += 1;
                    assert!(turned_away < 1000, "some were never taken");
                    waiting.push_back(notify);
                }
                other => panic!("{other}"),
            }
        }
        turned_away
    }
}

impl Caught {
    /// Gives the sender this answer, if it still waits for one.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }

    fn answered(self, status: StatusCode) {
        self.answer(Answer {
            status,
            retry_after: None,
            body: Bytes::new(),
        });
    }
}

impl Way {
    async fn carry(&self, request: &Passing) -> Answer {
        let url = format!("https://{}{}", self.to, request.target);
        let mut carried = self.http.request(request.method.clone(), url);
        for name in [http::header::FROM, http::header::CONTENT_TYPE] {
            if let Some(value) = request.headers.get(&name) {
                carried = carried.header(name, value);
            }
        }
        let answer = carried.body(request.body.clone()).send().await.unwrap();
        Answer {
            status: answer.status(),
            retry_after: None,
            body: answer.bytes().await.unwrap(),
        }
    }
}

async fn pass(State(way): State<Arc<Way>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let request = Passing {
        method: head.method,
        target: head.uri.path_and_query().unwrap().as_str().parse().unwrap(),
        headers: head.headers,
        body: axum::body::to_bytes(body, usize::MAX).await.unwrap(),
    };
    let caught = (*way.catching.lock().unwrap()).is_some_and(|endpoint| {
        request
            .target
            .path()
            .starts_with(&format!("/v1/{}/", endpoint.name()))
    });
    let answer = if caught {
        let (answer, answered) = oneshot::channel();
        way.caught.send(Caught { request, answer }).unwrap();
        answered.await.unwrap()
    } else {
        way.carry(&request).await
    };
    (answer.status, answer.body).into_response()
}
