//! Workers: one per owner, its only writer.
//!
//! A worker takes commands one by one: judge on the state in memory, write the batch, tell. After any failure to
//! write, the state in memory is dropped and loaded again, because it may be ahead of the store. An idle worker ends
//! and takes its state with it, so that ten thousand quiet rooms cost nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{Guard, failpoint};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::command::{Command, Reply, RequestContext};
use crate::decision::Decision;
use crate::engine::Env;
use crate::graphs::ForeignState;
use crate::homeserver::HomeserverState;
use crate::owner::Owner;
use crate::refusal::Refusal;
use crate::room::RoomState;
use crate::user::UserState;

/// Commands that may wait for one owner before more are turned away.
const QUEUE: usize = 1024;
/// After this long without a command a worker ends.
const IDLE: Duration = Duration::from_mins(1);
/// The same for an owner that doesn't exist.
const VACANT: Duration = Duration::from_secs(1);

pub(crate) struct Job {
    ctx: RequestContext,
    command: Command,
    reply: oneshot::Sender<Result<Reply, Refusal>>,
}

/// All running workers.
#[derive(Default)]
pub(crate) struct Workers {
    running: Mutex<HashMap<Owner, mpsc::Sender<Job>>>,
    tasks: Mutex<tokio::task::JoinSet<()>>,
    closed: std::sync::atomic::AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are never left half-changed, so a panic elsewhere doesn't spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// Hands a command to the owner's worker and waits for its answer.
    pub(crate) async fn execute(
        self: &Arc<Self>,
        env: &Arc<Env>,
        owner: Owner,
        ctx: RequestContext,
        command: Command,
    ) -> Result<Reply, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(env, owner, Job { ctx, command, reply })?;
        answer.await.unwrap_or_else(|_| {
            Err(Refusal::unavailable(
                "the owner's worker ended before it answered",
            ))
        })
    }

    fn send(self: &Arc<Self>, env: &Arc<Env>, owner: Owner, job: Job) -> Result<(), Refusal> {
        // Sending happens under the lock, so that a worker that found its queue empty under the same lock can end
        // without losing a job.
        let mut running = lock(&self.running);
        if self.closed.load(std::sync::atomic::Ordering::Acquire) {
            return Err(Refusal::unavailable("shutting down"));
        }
        let job = match running.get(&owner) {
            None => job,
            Some(queue) => match queue.try_send(job) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    metrics::counter!("causeway_worker_shed_total").increment(1);
                    return Err(Refusal::unavailable("too many commands wait for this owner"));
                }
                Err(mpsc::error::TrySendError::Closed(job)) => job,
            },
        };
        let (queue, jobs) = mpsc::channel(QUEUE);
        queue
            .try_send(job)
            .map_err(|_| Refusal::internal("a new queue is full"))?;
        running.insert(owner.clone(), queue);
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(run(self.clone(), env.clone(), owner, jobs));
        Ok(())
    }

    /// Lets every worker finish what it has and takes no more.
    pub(crate) async fn close(&self) {
        self.closed.store(true, std::sync::atomic::Ordering::Release);
        lock(&self.running).clear();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
    }

    /// Workers running now.
    pub(crate) fn count(&self) -> usize {
        lock(&self.running).len()
    }
}

/// What an owner's worker keeps in memory.
struct Memory {
    state: State,
    /// The right to write; taken with the first write, so that asking after what doesn't exist leaves no trace.
    guard: Option<Guard>,
    /// The term it was loaded in. Another one may have left something else in the store.
    term: u64,
}

enum State {
    Room(Box<RoomState>),
    Graph(Box<ForeignState>),
    User(Box<UserState>),
    Homeserver(HomeserverState),
}

impl State {
    async fn load(env: &Env, owner: &Owner) -> Result<Self, Refusal> {
        match owner {
            Owner::Room(uri) => RoomState::load(env, uri).await.map(|s| Self::Room(Box::new(s))),
            Owner::Graph(room_id) => ForeignState::load(env, room_id)
                .await
                .map(|s| Self::Graph(Box::new(s))),
            Owner::User(uri) => UserState::load(env, uri).await.map(|s| Self::User(Box::new(s))),
            Owner::Homeserver => HomeserverState::load(env).await.map(Self::Homeserver),
            Owner::Destination(_) => Err(Refusal::internal("a destination takes no commands")),
        }
    }

    async fn decide(
        &mut self,
        env: &Env,
        ctx: &RequestContext,
        command: &Command,
    ) -> Result<Decision, Refusal> {
        match (self, command) {
            (Self::Room(state), Command::Room(command)) => state.decide(env, ctx, command).await,
            (Self::Room(state), Command::Graph(command)) => state.graph(env, ctx, command).await,
            (Self::Graph(state), Command::Graph(command)) => state.decide(env, ctx, command).await,
            (Self::User(state), Command::User(command)) => state.decide(env, ctx, command).await,
            (Self::Homeserver(state), Command::Homeserver(command)) => state.decide(env, ctx, command).await,
            _ => Err(Refusal::internal("a command for another kind of owner")),
        }
    }

    /// Whether there is nothing worth keeping.
    fn is_vacant(&self) -> bool {
        match self {
            Self::Room(state) => state.is_vacant(),
            Self::Graph(state) => state.is_vacant(),
            Self::User(state) => state.is_vacant(),
            Self::Homeserver(_) => false,
        }
    }
}

async fn run(workers: Arc<Workers>, env: Arc<Env>, owner: Owner, mut jobs: mpsc::Receiver<Job>) {
    let mut memory: Option<Memory> = None;
    loop {
        let vacant = memory.as_ref().is_none_or(|memory| memory.state.is_vacant());
        let job = match tokio::time::timeout(if vacant { VACANT } else { IDLE }, jobs.recv()).await {
            Ok(Some(job)) => job,
            Ok(None) => return,
            Err(_) => {
                let mut running = lock(&workers.running);
                if jobs.is_empty() {
                    running.remove(&owner);
                    return;
                }
                continue;
            }
        };
        let span = tracing::info_span!("command", request_id = %job.ctx.request_id);
        let outcome = one(&env, &owner, &mut memory, &job.ctx, &job.command)
            .instrument(span)
            .await;
        // A caller that has gone away learns the outcome by repeating its request.
        let _ = job.reply.send(outcome);
    }
}

async fn one(
    env: &Env,
    owner: &Owner,
    kept: &mut Option<Memory>,
    ctx: &RequestContext,
    command: &Command,
) -> Result<Reply, Refusal> {
    let term = env.sequencer.term()?;
    // Whatever fails below leaves nothing kept: the next command loads what the store has.
    let mut memory = if let Some(memory) = kept.take().filter(|memory| memory.term == term) {
        memory
    } else {
        env.sequencer.confirm(term).await?;
        Memory {
            state: State::load(env, owner).await?,
            guard: None,
            term,
        }
    };
    let mut decision = match memory.state.decide(env, ctx, command).await {
        Ok(decision) => decision,
        Err(refusal) => {
            // A refusal changes nothing, in memory neither; a fault may have.
            if !matches!(refusal, Refusal::Internal(_) | Refusal::Store(_)) {
                *kept = Some(memory);
                // Only who still orders knows that it is so.
                env.sequencer.confirm(term).await?;
            }
            return Err(refusal);
        }
    };
    if decision.is_read() {
        *kept = Some(memory);
        env.sequencer.confirm(term).await?;
        return Ok(decision.reply);
    }
    let guard = if let Some(guard) = memory.guard.take() {
        guard
    } else {
        // Another process may have written before the owner became ours: judge again on what is there now.
        let guard = env.store.acquire(&owner.key()).await?;
        memory.state = State::load(env, owner).await?;
        decision = memory.state.decide(env, ctx, command).await?;
        guard
    };
    for blob in std::mem::take(&mut decision.blobs) {
        env.store.blob_put(blob).await?;
    }
    failpoint::hit("engine.before-commit");
    let committed = match env.store.commit(decision.batch(guard)).await {
        Ok(committed) => committed,
        Err(error) => {
            // It may have been written all the same: senders and readers have to look, or what it holds waits until
            // something else wakes them.
            env.announce(&decision);
            return Err(error.into());
        }
    };
    failpoint::hit("engine.after-commit");
    memory.guard = committed.guard;
    *kept = Some(memory);
    env.announce(&decision);
    Ok(decision.reply)
}

/// Waits for a task and says so when it panicked.
pub(crate) async fn finish(task: JoinHandle<()>, what: &str) {
    if let Err(error) = task.await
        && error.is_panic()
    {
        tracing::error!(what, "a background task panicked");
    }
}
