//! Changing a room's group until it is done.

use super::{Client, answer, final_refusal};
use crate::api::{B64, ClaimRequest};
use crate::engine::Outcome;
use crate::error::ClientError;
use crate::state::{Entry, Intent, Membership};
use crate::transport::{Transport, TransportError};
use mimi_wire::MimiUri;
use std::time::Duration;

/// How long to wait for the feed to show an epoch that the hub has spoken of, a page at a time.
const PAGE_WAIT: Duration = Duration::from_secs(2);
const PAGES: u32 = 5;

impl<T: Transport> Client<T> {
    /// Adds users with all their clients.
    pub async fn add(&mut self, uri: &str, users: &[MimiUri]) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        self.finish_first(uri, &mut news).await?;
        let mut answers = Vec::with_capacity(users.len());
        for user in users {
            let request = ClaimRequest {
                request: B64(self.engine.claim(uri, user)?),
            };
            answers.push((user.clone(), answer(self.transport.claim(uri, &request).await?)));
        }
        self.engine.add(uri, &answers)?;
        self.settle(uri, &mut news).await?;
        Ok(news)
    }

    /// Adds a user with a request for KeyPackages that was made before ([`crate::Engine::claim`]).
    pub async fn add_claimed(
        &mut self,
        uri: &str,
        user: &MimiUri,
        request: Vec<u8>,
    ) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        self.finish_first(uri, &mut news).await?;
        let request = ClaimRequest {
            request: B64(request),
        };
        let material = answer(self.transport.claim(uri, &request).await?);
        self.engine.add(uri, &[(user.clone(), material)])?;
        self.settle(uri, &mut news).await?;
        Ok(news)
    }

    /// Removes users with all their clients.
    pub async fn remove(&mut self, uri: &str, users: &[MimiUri]) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        self.finish_first(uri, &mut news).await?;
        self.engine.remove(uri, users)?;
        self.settle(uri, &mut news).await?;
        Ok(news)
    }

    /// Asks for this user to be taken out with all clients; another member's commit does it.
    pub async fn leave(&mut self, uri: &str) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        self.finish_first(uri, &mut news).await?;
        self.engine.leave(uri)?;
        self.settle(uri, &mut news).await?;
        Ok(news)
    }

    /// Replaces this device's keys in a room's group.
    pub async fn renew_keys(&mut self, uri: &str) -> Result<Vec<Entry>, ClientError> {
        let mut news = Vec::new();
        self.finish_first(uri, &mut news).await?;
        self.engine.renew_keys(uri)?;
        self.settle(uri, &mut news).await?;
        Ok(news)
    }

    /// Brings this device into a room of its user by external commit.
    pub async fn join(&mut self, uri: &str) -> Result<Vec<Entry>, ClientError> {
        let mut news = self.catch_up(uri).await?;
        if self.engine.room(uri)?.membership == Membership::Member {
            return Ok(news);
        }
        if self.engine.busy(uri)? {
            self.settle(uri, &mut news).await?;
        } else {
            self.external(uri, &mut news).await?;
        }
        Ok(news)
    }

    pub(super) async fn finish_first(&mut self, uri: &str, news: &mut Vec<Entry>) -> Result<(), ClientError> {
        news.extend(self.catch_up(uri).await?);
        if self.engine.busy(uri)? {
            self.settle(uri, news).await
        } else {
            Ok(())
        }
    }

    /// Brings what is wanted or under way to its end.
    pub(super) async fn settle(&mut self, uri: &str, news: &mut Vec<Entry>) -> Result<(), ClientError> {
        for attempt in 0..self.options.attempts {
            news.extend(self.catch_up(uri).await?);
            let room = self.engine.room(uri)?;
            if room.intent == Some(Intent::Join) && room.pending.is_none() {
                return self.external(uri, news).await;
            }
            let wanted = (room.intent.clone(), self.engine.open_proposals(uri)?);
            let prepared = self.engine.prepare(uri);
            if prepared.is_err() {
                // What can't be built will not be built next time either.
                self.engine.give_up(uri)?;
            }
            let Some(request) = prepared? else { return Ok(()) };
            let outcome = match self.transport.update(uri, &request).await {
                Ok(response) => self.engine.answered(uri, &answer(response))?,
                Err(error) => return Err(self.unanswered(uri, error)?),
            };
            match outcome {
                Outcome::Done => {
                    news.extend(self.catch_up(uri).await?);
                    return Ok(());
                }
                // Perhaps since it leaves out what was accepted while it was on its way.
                Outcome::Refused(why) => {
                    news.extend(self.catch_up(uri).await?);
                    let (intent, proposals) = wanted;
                    if !self.engine.want_again(uri, intent, &proposals)? {
                        return Err(ClientError::Refused(why));
                    }
                }
                Outcome::Stale { current } => self.reach(uri, current, attempt, news).await?,
            }
        }
        Err(ClientError::TooBusy(self.options.attempts))
    }

    /// No answer of the hub: where the provider refused for good the request is forgotten, else it stays.
    fn unanswered(&mut self, uri: &str, error: TransportError) -> Result<ClientError, ClientError> {
        if final_refusal(&error) {
            self.engine.refused(uri)?;
        }
        Ok(error.into())
    }

    /// Reads the feed until it has shown the epoch the hub spoke of, then pauses a little: others try too.
    async fn reach(
        &mut self,
        uri: &str,
        current: Option<u64>,
        attempt: u32,
        news: &mut Vec<Entry>,
    ) -> Result<(), ClientError> {
        for _ in 0..PAGES {
            news.extend(self.catch_up(uri).await?);
            if self
                .engine
                .epoch(uri)?
                .is_none_or(|ours| current.is_none_or(|hubs| ours >= hubs))
            {
                break;
            }
            news.extend(self.read(uri, PAGE_WAIT).await?);
        }
        tokio::time::sleep(self.options.backoff.pause(attempt, None)).await;
        Ok(())
    }

    async fn external(&mut self, uri: &str, news: &mut Vec<Entry>) -> Result<(), ClientError> {
        let mut refusal = None;
        for attempt in 0..self.options.attempts {
            let query = self.engine.ask_group_info(uri)?;
            let response = match self.transport.group_info(uri, &query).await {
                Ok(response) => answer(response),
                Err(error) => {
                    if final_refusal(&error) {
                        self.engine.join_failed(uri)?;
                    }
                    return Err(error.into());
                }
            };
            let request = match self.engine.join(uri, &response) {
                Ok(request) => request,
                Err(error) => {
                    self.engine.join_failed(uri)?;
                    return Err(error);
                }
            };
            let outcome = match self.transport.update(uri, &request).await {
                Ok(response) => self.engine.answered(uri, &answer(response))?,
                Err(error) => return Err(self.unanswered(uri, error)?),
            };
            match outcome {
                Outcome::Done => {
                    news.extend(self.catch_up(uri).await?);
                    return Ok(());
                }
                // Perhaps a member has to commit pending proposals first.
                Outcome::Refused(why) => refusal = Some(why),
                Outcome::Stale { .. } => {}
            }
            tokio::time::sleep(self.options.backoff.pause(attempt, None)).await;
            news.extend(self.catch_up(uri).await?);
        }
        self.engine.give_up(uri)?;
        Err(refusal.map_or(ClientError::TooBusy(self.options.attempts), ClientError::Refused))
    }

    /// Commits others' proposals, if there are any left after a random pause.
    pub(super) async fn commit_others(
        &mut self,
        uri: &str,
        news: &mut Vec<Entry>,
    ) -> Result<(), ClientError> {
        if !self.engine.can_commit(uri)? {
            return Ok(());
        }
        let share = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
        tokio::time::sleep(self.options.commit_jitter.mul_f64(share)).await;
        news.extend(self.catch_up(uri).await?);
        if !self.engine.commit_proposals(uri)? {
            return Ok(());
        }
        match self.settle(uri, news).await {
            // Another client may have done it; if not, the next round tries again.
            Err(error @ (ClientError::Refused(_) | ClientError::TooBusy(_))) => {
                tracing::warn!(room = uri, %error, "others' proposals could not be committed");
                Ok(())
            }
            other => other,
        }
    }
}
