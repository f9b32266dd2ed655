//! Workers: one per owner, its only writer.
//!
//! A worker takes commands one by one: judge on the state in memory, write the batch, tell. Messages that wait together
//! are judged one after the other and written in one batch. After any failure to write, the state in memory is dropped
//! and loaded again, because it may be ahead of the store. An idle worker ends and takes its state with it, so that ten
//! thousand quiet rooms cost nothing.

use std::collections::{HashMap, VecDeque};
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
/// Commands that are decided together at most.
const GROUP: usize = 64;
/// Octets to be written after which nothing more is decided before they are.
const BATCH: usize = 2 * 1024 * 1024;
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
    let mut waiting: VecDeque<Job> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match wait(&mut jobs, memory.as_ref()).await {
                Some(job) => waiting.push_back(job),
                None if jobs.is_closed() && jobs.is_empty() => return,
                None => {
                    let mut running = lock(&workers.running);
                    if jobs.is_empty() {
                        running.remove(&owner);
                        return;
                    }
                    continue;
                }
            }
        }
        let group = group(&mut jobs, &mut waiting);
        let outcomes = together(&env, &owner, &mut memory, waiting.iter().take(group)).await;
        for outcome in outcomes {
            if let Some(job) = waiting.pop_front() {
                // A caller that has gone away learns the outcome by repeating its request.
                let _ = job.reply.send(outcome);
            }
        }
    }
}

/// How many of the commands that wait are decided together, the oldest first.
fn group(jobs: &mut mpsc::Receiver<Job>, waiting: &mut VecDeque<Job>) -> usize {
    let mut group = 1;
    while group < GROUP {
        if waiting.len() == group {
            let Ok(job) = jobs.try_recv() else { break };
            waiting.push_back(job);
        }
        let others = waiting.iter().take(group).map(|job| &job.command);
        if !waiting
            .get(group)
            .is_some_and(|job| job.command.goes_with(others))
        {
            break;
        }
        group += 1;
    }
    group
}

/// The next command; none if there is none for long.
async fn wait(jobs: &mut mpsc::Receiver<Job>, memory: Option<&Memory>) -> Option<Job> {
    let vacant = memory.is_none_or(|memory| memory.state.is_vacant());
    let idle = if vacant { VACANT } else { IDLE };
    tokio::time::timeout(idle, jobs.recv()).await.ok().flatten()
}

type Outcome = Result<Reply, Refusal>;

/// Decides commands one after the other, writes what follows in one batch, and only then tells. There is at least one
/// outcome; commands without one have to be decided again.
async fn together(
    env: &Env,
    owner: &Owner,
    kept: &mut Option<Memory>,
    group: impl Iterator<Item = &Job> + Send,
) -> Vec<Outcome> {
    match decide(env, owner, kept, group).await {
        Ok(outcomes) => outcomes,
        // Nothing is kept: the next command loads what the store has. Nobody knows whether what was decided is written;
        // deciding again finds out.
        Err(refusal) => vec![Err(refusal)],
    }
}

async fn decide(
    env: &Env,
    owner: &Owner,
    kept: &mut Option<Memory>,
    group: impl Iterator<Item = &Job> + Send,
) -> Result<Vec<Outcome>, Refusal> {
    let term = env.sequencer.term()?;
    let mut memory = if let Some(memory) = kept.take().filter(|memory| memory.term == term) {
        memory
    } else {
        env.sequencer.confirm(term).await?;
        env.fence.refresh(env.store.as_ref()).await?;
        Memory {
            state: State::load(env, owner).await?,
            guard: None,
            term,
        }
    };
    let mut outcomes = Vec::new();
    let mut whole: Option<Decision> = None;
    let mut fault = false;
    for job in group {
        let span = tracing::info_span!("command", request_id = %job.ctx.request_id);
        let judged = memory.judge(env, owner, job).instrument(span).await;
        match judged {
            Ok(Decision {
                turned_away: Some(refusal),
                ..
            }) => outcomes.push(Err(refusal)),
            Ok(mut decision) => {
                outcomes.push(Ok(std::mem::replace(&mut decision.reply, Reply::Done)));
                match &mut whole {
                    _ if decision.is_read() => {}
                    Some(whole) => whole.absorb(decision),
                    None => whole = Some(decision),
                }
            }
            Err(refusal) => {
                // A refusal changes nothing, in memory neither; a fault may have. So may a store that only asks for patience:
                // the right to write is taken once it is decided that there is something to be written.
                fault = matches!(
                    refusal,
                    Refusal::Internal(_) | Refusal::Store(_) | Refusal::Unavailable { .. }
                );
                outcomes.push(Err(refusal));
            }
        }
        if fault || whole.as_ref().is_some_and(|whole| whole.size() > BATCH) {
            break;
        }
    }
    if let Some(decision) = whole {
        memory.guard = write(env, memory.guard.take(), decision).await?;
    } else if !fault {
        // Only who still orders knows that it is so.
        env.sequencer.confirm(term).await?;
    }
    if !fault {
        *kept = Some(memory);
    }
    Ok(outcomes)
}

impl Memory {
    /// Decides a command; the right to write is there if something is to be written.
    async fn judge(&mut self, env: &Env, owner: &Owner, job: &Job) -> Result<Decision, Refusal> {
        let decision = self.state.decide(env, &job.ctx, &job.command).await?;
        if decision.is_read() || self.guard.is_some() {
            return Ok(decision);
        }
        // Another process may have written before the owner became ours: judge again on what is there now.
        let guard = env.store.acquire(&owner.key()).await?;
        self.state = State::load(env, owner).await?;
        self.guard = Some(guard);
        self.state.decide(env, &job.ctx, &job.command).await
    }
}

/// Writes a decision and tells those who wait for what is in it.
async fn write(env: &Env, guard: Option<Guard>, mut decision: Decision) -> Result<Option<Guard>, Refusal> {
    let guard = guard.ok_or_else(|| Refusal::internal("a decision without the right to write"))?;
    for blob in std::mem::take(&mut decision.blobs) {
        env.store.blob_put(blob).await?;
    }
    let batch = decision.batch(guard)?;
    failpoint::hit("engine.before-commit");
    let committed = match env.store.commit(batch).await {
        Ok(committed) => committed,
        Err(error) => {
            // It may have been written all the same: senders and readers have to look, or what it holds waits until
            // something else wakes them.
            env.announce(&decision);
            return Err(error.into());
        }
    };
    failpoint::hit("engine.after-commit");
    env.announce(&decision);
    Ok(committed.guard)
}

/// Waits for a task and says so when it panicked.
pub(crate) async fn finish(task: JoinHandle<()>, what: &str) {
    if let Err(error) = task.await
        && error.is_panic()
    {
        tracing::error!(what, "a background task panicked");
    }
}
