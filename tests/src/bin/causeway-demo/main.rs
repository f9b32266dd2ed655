//! First light, to be watched: an encrypted conversation between a user of a real Matrix homeserver and users of
//! another MIMI provider, with everything that carries it, and the proof that nobody on the way could read it.
//!
//! `scripts/demo` installs and builds what this needs and runs it.

mod opacity;
mod stage;
mod transcript;

use causeway_tests::client::Client;
use causeway_tests::{Context as _, Failure, Result};
use serde_json::Value;
use stage::{Stage, say, step};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How long a message may take, on a machine that does other things too.
const SOON: Duration = Duration::from_mins(1);
/// The room's name.
const ROOM: &str = "Harbour";

// Sentences that nothing else writes: any twelve octets of them, found anywhere, are a leak.
const GREETING: &str = "Bob, the kingfisher lands at quay nine, bring the violet lantern";
const ANSWER: &str = "Alice, violet lantern packed, tide tables say half past four";
const DURING_A: &str = "Fog bank over the breakwater: gulls vanish, keep the ledger dry";
const DURING_B: &str = "Ledger wrapped in oilcloth, cormorant spotted beside buoy twelve";
const AFTER: &str = "Power is back, the kettle whistles, who mends the barometer?";
const TABLET: &str = "Writing from my tablet now, the laptop fell into brine";
const CAROL: &str = "Carol here, aboard since dusk with pomegranates and rope";
const FAREWELL: &str = "Only we two remain; Bob rowed home under a copper moon";

fn main() -> ExitCode {
    let stay = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--stay") => true,
        Some(_) => {
            eprintln!("usage: scripts/demo [--stay]");
            return ExitCode::from(2);
        }
    };
    causeway_tests::install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let mut stage = Stage::new()?;
            let outcome = tokio::select! {
                outcome = story(&mut stage, stay) => outcome,
                stopped = told_to_stop() => stopped.and_then(|()| Err(Failure::new("interrupted"))),
            };
            let outcome = match outcome {
                Ok(()) if stay => told_to_stop().await,
                other => other,
            };
            stage.clear(outcome.is_ok()).await;
            outcome
        }),
        Err(error) => Err(Failure::new(format!("no runtime: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nthe demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn story(stage: &mut Stage, stay: bool) -> Result<()> {
    let started = Instant::now();
    step("A homeserver, a gateway beside it, and a second provider");
    stage.start().await?;

    step("Alice signs in with her Matrix account, Bob and Carol with accounts of b.example");
    let alice = stage.alice("phone").await?;
    let bob = stage.local("Bob", "bob", "laptop").await?;
    let carol = stage.local("Carol", "carol", "phone").await?;

    step("Alice founds a room at a.example, its hub, and adds Bob: his KeyPackages come over MIMI");
    let room = alice.run(&["create", ROOM]).await?;
    let room = room
        .get("room")
        .and_then(Value::as_str)
        .context("the room's URI")?
        .to_owned();
    say(&format!("room {room}"));
    let portal = stage.portal(&alice, &room).await?;
    say(&format!("its portal on the homeserver: {portal}"));
    alice.run(&["add", &room, &bob.user]).await?;

    step("Both write, both read");
    alice.send(&room, GREETING, SOON).await?;
    sees(&bob, &room, &[GREETING]).await?;
    bob.send(&room, ANSWER, SOON).await?;
    sees(&alice, &room, &[GREETING, ANSWER]).await?;

    step("SIGKILL for gateway A while both are sending; then it is started again");
    let (a, b, killed) = tokio::join!(
        alice.send(&room, DURING_A, SOON),
        bob.send(&room, DURING_B, SOON),
        stage.kill_and_restart_a(),
    );
    killed?;
    a?;
    b?;
    alice.send(&room, AFTER, SOON).await?;
    let five = [GREETING, ANSWER, DURING_A, DURING_B, AFTER];
    sees(&bob, &room, &five).await?;
    sees(&alice, &room, &five).await?;
    say("nothing is lost, nothing is doubled");

    step("Bob's second device joins by external commit and writes");
    let tablet = stage.local("Bob's tablet", "bob", "tablet").await?;
    tablet.run(&["join", &room]).await?;
    tablet.send(&room, TABLET, SOON).await?;
    sees(
        &alice,
        &room,
        &[GREETING, ANSWER, DURING_A, DURING_B, AFTER, TABLET],
    )
    .await?;

    step("Bob adds Carol through the hub");
    bob.run(&["sync"]).await?;
    bob.run(&["add", &room, &carol.user]).await?;
    // Carol knows the room only once its Welcome has arrived.
    until("Carol's Welcome", || async {
        Ok(carol.run(&["members", &room]).await.ok().map(drop))
    })
    .await?;
    carol.send(&room, CAROL, SOON).await?;
    let seven = [GREETING, ANSWER, DURING_A, DURING_B, AFTER, TABLET, CAROL];
    sees(&alice, &room, &seven).await?;
    sees(&bob, &room, &seven).await?;

    step("Bob leaves; another client's commit takes him out");
    bob.run(&["leave", &room]).await?;
    until("the commit without Bob", || async {
        alice.run(&["sync"]).await?;
        carol.run(&["sync"]).await?;
        let members = alice.run(&["members", &room]).await?.to_string();
        Ok((!members.contains(&bob.user)).then_some(()))
    })
    .await?;
    alice.send(&room, FAREWELL, SOON).await?;
    sees(&carol, &room, &[CAROL, FAREWELL]).await?;
    sees(
        &alice,
        &room,
        &[
            GREETING, ANSWER, DURING_A, DURING_B, AFTER, TABLET, CAROL, FAREWELL,
        ],
    )
    .await?;
    sees(&bob, &room, &seven).await?;
    say("Bob's devices read nothing of what came after");

    step("What carried what");
    transcript::print(stage, &alice, &carol, &bob, &room, &portal).await?;

    step("Nobody on the way could read it");
    let texts = [
        GREETING, ANSWER, DURING_A, DURING_B, AFTER, TABLET, CAROL, FAREWELL,
    ];
    opacity::prove(stage, &[&alice, &bob, &tablet, &carol], &texts, &room, &portal).await?;

    println!("\nDone in {:.1} s.", started.elapsed().as_secs_f64());
    if stay {
        stage.invite(&room).await?;
    }
    Ok(())
}

/// SIGINT or SIGTERM.
async fn told_to_stop() -> Result<()> {
    let mut term = signal(SignalKind::terminate()).context("listening for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for signals")?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Asks again until there is an answer.
async fn until<T, F>(what: &str, ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    causeway_tests::matrix::eventually(what, SOON, ask).await
}

/// Waits until a device has all these messages; fails if it has others or one twice.
async fn sees(client: &Client, room: &str, texts: &[&str]) -> Result<()> {
    until(
        &format!("{} reading all {} messages", client.name, texts.len()),
        || async {
            let Ok(messages) = client.messages(room).await else {
                return Ok(None);
            };
            let mut seen: Vec<&str> = messages.iter().map(|m| m.text.as_str()).collect();
            seen.sort_unstable();
            let mut once = seen.clone();
            once.dedup();
            if once.len() != seen.len() {
                return Err(Failure(format!("{} has a message twice: {seen:?}", client.name)));
            }
            if let Some(strange) = seen.iter().find(|text| !texts.contains(text)) {
                return Err(Failure(format!(
                    "{} has a message that is not for it: {strange:?}",
                    client.name
                )));
            }
            Ok((seen.len() == texts.len()).then_some(()))
        },
    )
    .await?;
    say(&format!(
        "{} has {} messages, each once",
        client.name,
        texts.len()
    ));
    Ok(())
}
