//! Many rooms in which nothing happens: what a service that has them keeps in memory.

use crate::case::Report;
use crate::world::{configure, ctx, open_store};
use gateway::config::{Config, Environment, load};
use gateway::service::Service;
use mimi_wire::MimiUri;
use mls_client::Engine;
use mls_client::client::{Credentials, sign_in};
use mls_client::transport::Http;
use room_engine::ClientActor;
use std::path::Path;
use std::time::{Duration, Instant};

/// Resident memory of this process, MiB.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

/// MiB that the service may take, all in.
const GOAL: f64 = 100.0;

/// What a service of its own told.
struct Told {
    resident: f64,
    start: f64,
    list: f64,
}

pub(crate) async fn measure(report: Report, count: usize) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let mut told = Vec::new();
    for (name, rooms) in [("empty.example", 0), ("many.example", count)] {
        let config = configure(folder.path(), name, address, &[]);
        let began = Instant::now();
        if rooms > 0 {
            fill(&config, rooms).await;
            report.figure(
                &format!("{rooms} rooms founded"),
                began.elapsed().as_secs_f64(),
                "s",
            );
        }
        // In a process of its own: this one has had them all in memory.
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .env("CAUSEWAY_BENCH_IDLE", folder.path().join(name))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        told.push(Told {
            resident: numbers[0],
            start: numbers[1],
            list: numbers[2],
        });
    }
    let (empty, many) = (&told[0], &told[1]);
    report.figure("resident, a service without rooms", empty.resident, "MiB");
    let case = format!("resident, a service with {count} idle rooms");
    let holds = report.goal(&case, many.resident, "MiB", GOAL);
    report.figure("the same service, until it is ready", many.start, "s");
    report.figure("the same service, until all its rooms are listed", many.list, "s");
    holds
}

async fn fill(config: &Config, rooms: usize) {
    let service = Service::start(config, open_store(config).await, None)
        .await
        .unwrap();
    let engine = service.engine();
    let (user, token) = engine.add_account(ctx(), "user").await.unwrap();
    let http = Http::new(&format!("http://{}", service.addresses().client_api), None).unwrap();
    let credentials = Credentials::Token {
        user: "user",
        token: &token,
    };
    let (info, session) = sign_in(&http, credentials, "d1").await.unwrap();
    let who = ClientActor {
        client: MimiUri::client(&user.domain(), "user", "d1").unwrap(),
        user,
    };
    let profile = tempfile::tempdir().unwrap();
    let mut device = Engine::create(profile.path(), None).unwrap();
    device.signed_in("bench", None, info, session, None).unwrap();
    for number in 0..rooms {
        let room = device
            .found(&format!("Room {number}"), mls_client::NewRoom::default())
            .unwrap();
        let request = device.founding().pop().unwrap();
        let uri = MimiUri::parse(&room).unwrap();
        engine
            .create_room(ctx(), &who, uri, request.group_info.0, request.ratchet_tree.0)
            .await
            .unwrap();
        // The device forgets it, or its own profile would be what is measured.
        device.not_founded(&request.room).unwrap();
    }
    service.stop().await;
}

/// Starts the service, lets it settle, and says what it takes.
pub(crate) fn child(folder: &Path) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = load(&folder.join("causeway.toml"), &Environment::default()).unwrap();
        let began = Instant::now();
        let service = Service::start(&config, open_store(&config).await, None)
            .await
            .unwrap();
        let started = began.elapsed();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let resident = resident();
        let began = Instant::now();
        let rooms = service.engine().rooms().await.unwrap();
        let listed = began.elapsed();
        assert!(rooms.iter().all(|room| room.epoch == 0));
        println!("{resident} {} {}", started.as_secs_f64(), listed.as_secs_f64());
        service.stop().await;
    });
}
