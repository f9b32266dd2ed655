use serde_json::json;

use super::*;

#[test]
fn selects_auth_events_by_version() {
    let keys = |version, event_type: &str, state_key: Option<&str>, content| {
        let mut keys: Vec<_> = auth_keys(version, event_type, "@a:x", state_key, &content)
            .unwrap()
            .into_iter()
            .map(|k| format!("{}|{}", k.event_type.trim_start_matches("m.room."), k.state_key))
            .collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(keys(RoomVersion::V11, "m.room.create", Some(""), json!({})), "");
    assert_eq!(
        keys(RoomVersion::V11, "m.room.message", None, json!({})),
        "create| member|@a:x power_levels|"
    );
    assert_eq!(
        keys(RoomVersion::V12, "m.room.message", None, json!({})),
        "member|@a:x power_levels|"
    );
    assert_eq!(
        keys(
            RoomVersion::V12,
            "m.room.member",
            Some("@b:x"),
            json!({"membership": "ban"})
        ),
        "member|@a:x member|@b:x power_levels|"
    );
    assert_eq!(
        keys(
            RoomVersion::V12,
            "m.room.member",
            Some("@a:x"),
            json!({"membership": "join", "join_authorised_via_users_server": "@c:x"})
        ),
        "join_rules| member|@a:x member|@c:x power_levels|"
    );
    assert_eq!(
        keys(
            RoomVersion::V7,
            "m.room.member",
            Some("@a:x"),
            json!({"membership": "join", "join_authorised_via_users_server": "@c:x"})
        ),
        "create| join_rules| member|@a:x power_levels|"
    );
    assert_eq!(
        keys(
            RoomVersion::V11,
            "m.room.member",
            Some("@b:x"),
            json!({"membership": "invite", "third_party_invite": {"signed": {"token": "t", "mxid": "@b:x"}}})
        ),
        "create| join_rules| member|@a:x member|@b:x power_levels| third_party_invite|t"
    );
}
