//! Commands as a person at a terminal gives them.

use super::*;
use crate::failure::Code;
use std::os::unix::fs::PermissionsExt as _;

fn causeway(config: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let head = ["causeway", "--config", config.to_str().unwrap()];
    crate::cli::run_from(head.iter().chain(arguments))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_what_check_finds_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p/causeway.toml");
    let ca = folder.path().join("ca");
    let arguments = [
        "init",
        "--yes",
        "--domain",
        "a.example",
        "--homeserver",
        "http://127.0.0.1:8008",
        "--dev-ca",
        ca.to_str().unwrap(),
        "--peer",
        "b.example=127.0.0.1:9443",
    ];
    causeway(&file, &arguments).unwrap();
    let config = load(&file, &Environment::default()).unwrap();
    assert_eq!(config.provider.node_name, "cw1.a.example");
    for secret in [
        "keys/node.key",
        "keys/hub-key.key",
        "keys/admin.token",
        "tls/mimi.key",
        "registration.yaml",
    ] {
        assert_eq!(mode(&config.path(Path::new(secret))), 0o600, "{secret}");
    }
    causeway(&file, &["check"]).unwrap();
    assert_eq!(causeway(&file, &arguments).unwrap_err().code(), Code::Exists);

    // What goes wrong later is found.
    std::fs::set_permissions(
        config.path(&config.keys.hub),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_eq!(causeway(&file, &["check"]).unwrap_err().code(), Code::CheckFailed);
    std::fs::set_permissions(
        config.path(&config.keys.hub),
        std::fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let registration = config.path(Path::new("registration.yaml"));
    let text = std::fs::read_to_string(&registration).unwrap();
    std::fs::write(
        &registration,
        text.replace("sender_localpart: _mimi", "sender_localpart: other"),
    )
    .unwrap();
    assert_eq!(causeway(&file, &["check"]).unwrap_err().code(), Code::CheckFailed);
    std::fs::write(&registration, text).unwrap();
    causeway(&file, &["check"]).unwrap();
    std::fs::write(config.path(&config.mimi.certificate), "").unwrap();
    assert_eq!(causeway(&file, &["check"]).unwrap_err().code(), Code::CheckFailed);
}

#[test]
fn accounts_and_the_store_without_a_running_service() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let file = a.path(Path::new("causeway.toml"));
    assert_eq!(
        causeway(&file, &["store", "verify"]).unwrap_err().code(),
        Code::StoreOpen
    );
    causeway(&file, &["user", "add", "bob"]).unwrap();
    assert_eq!(
        causeway(&file, &["user", "add", "bob"]).unwrap_err().code(),
        Code::Exists
    );
    causeway(&file, &["user", "ls", "--json"]).unwrap();
    causeway(&file, &["room", "ls"]).unwrap();
    assert_eq!(
        causeway(&file, &["room", "show", "mimi://a.example/r/x"])
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    assert_eq!(
        causeway(&file, &["room", "show", "x"]).unwrap_err().code(),
        Code::Usage
    );
    causeway(&file, &["store", "verify"]).unwrap();
    causeway(&file, &["check"]).unwrap();

    let export = folder.path().join("export.jsonl");
    let export = export.to_str().unwrap();
    causeway(&file, &["store", "export", export]).unwrap();
    assert_eq!(mode(Path::new(export)), 0o600);
    assert_eq!(
        causeway(&file, &["store", "export", export]).unwrap_err().code(),
        Code::Exists
    );
    assert_eq!(
        causeway(&file, &["store", "import", export]).unwrap_err().code(),
        Code::Exists
    );
    std::fs::rename(a.path(&a.store.path), folder.path().join("old")).unwrap();
    causeway(&file, &["store", "import", export]).unwrap();
    causeway(&file, &["user", "remove", "bob"]).unwrap();
    assert_eq!(
        causeway(&file, &["user", "remove", "bob"]).unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_through_the_running_service() {
    let folder = tempfile::tempdir().unwrap();
    let [a, _] = configurations(folder.path());
    let file = a.path(Path::new("causeway.toml"));
    let a = start(a).await;
    let run = |arguments: &'static [&'static str]| {
        let file = file.clone();
        tokio::task::spawn_blocking(move || causeway(&file, arguments))
    };
    run(&["user", "add", "bob"]).await.unwrap().unwrap();
    assert_eq!(
        run(&["user", "add", "bob"]).await.unwrap().unwrap_err().code(),
        Code::Exists
    );
    run(&["user", "ls"]).await.unwrap().unwrap();
    assert_eq!(a.service.engine().accounts().await.unwrap().len(), 1);
    run(&["user", "remove", "bob"]).await.unwrap().unwrap();
    assert_eq!(
        run(&["user", "remove", "bob"]).await.unwrap().unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(a.service.engine().accounts().await.unwrap(), []);
    a.service.stop().await;
}
