#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

#[test]
fn commands_are_read_as_people_write_them() {
    let bob = uri("mimi://b.example/u/bob");
    for text in [
        "chat mimi://b.example/u/bob",
        "  CHAT bob@b.example  ",
        "!chat @bob:b.example",
        "!mimi chat <mimi://b.example/u/bob>",
    ] {
        assert_eq!(
            read(text, true),
            Some(Ok(Command::Chat {
                users: vec![bob.clone()],
                name: None
            })),
            "{text}"
        );
    }
    assert_eq!(
        read("chat bob@b.example carol@c.example named The book club", true),
        Some(Ok(Command::Chat {
            users: vec![bob.clone(), uri("mimi://c.example/u/carol")],
            name: Some("The book club".into())
        }))
    );
    assert_eq!(read("", true), Some(Ok(Command::Help)));
    assert_eq!(read("!mimi", false), Some(Ok(Command::Help)));
    assert_eq!(read("info", true), Some(Ok(Command::Info { room: None })));
    assert_eq!(
        read("accept bob@b.example", true),
        Some(Ok(Command::Accept { user: bob }))
    );
    assert_eq!(
        read("admin sync club", true),
        Some(Ok(Command::Admin(Admin::Sync { room: "club".into() })))
    );
}

#[test]
fn an_upgrade_names_room_and_version() {
    assert_eq!(
        read("admin upgrade club 12", true),
        Some(Ok(Command::Admin(Admin::Upgrade {
            room: "club".into(),
            version: "12".into()
        })))
    );
    assert!(matches!(read("admin upgrade club", true), Some(Err(_))));
}

#[test]
fn what_is_not_for_the_bot_is_left_alone() {
    assert_eq!(read("help", false), None);
    assert_eq!(read("!mimicry help", false), None);
}

#[test]
fn what_is_wrong_is_said() {
    for text in [
        "chat",
        "status",
        "admin",
        "admin sync",
        "chat mimi://b.example/r/room",
        "chat bob",
        "sudo",
    ] {
        assert!(matches!(read(text, true), Some(Err(_))), "{text}");
    }
    assert_eq!(read(&"x".repeat(5000), true), Some(Err(CommandError::TooLong)));
}

#[test]
fn a_reply_escapes_what_others_wrote() {
    let mut reply = Reply::new("rooms of <you>");
    reply.item("a&b", "<script>").line("end");
    let content = reply.content();
    assert_eq!(content["body"], "rooms of <you>\n- a&b: <script>\nend");
    assert_eq!(
        content["formatted_body"],
        "<p>rooms of &lt;you&gt;</p><ul><li><code>a&amp;b</code>: &lt;script&gt;</li></ul><p>end</p>"
    );
}

proptest! {
    #[test]
    fn no_message_panics_and_no_reply_bursts_an_event(text in "\\PC{0,300}", direct in any::<bool>()) {
        let _ = read(&text, direct);
        let mut reply = Reply::new(&text);
        for _ in 0..500 {
            reply.item(&text, &text);
        }
        prop_assert!(serde_json::to_string(&reply.content()).unwrap().len() < 60_000);
    }
}
