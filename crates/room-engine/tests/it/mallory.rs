//! A Matrix server that means no good, with what it can do to a room's graph.

use event_graph::auth::auth_keys;
use event_graph::limits::MAX_INTEGER;
use event_graph::{Draft, EventId, Pdu, RoomVersion, SigningIdentity};
use room_engine::Engine;
use room_engine::carrier::{HANDSHAKE, MESSAGE};
use room_engine::graphs::{Fate, GraphCommand, GraphReply};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Batch, Scan, Space};

use crate::world::{A, World, ctx, uri};

const VERSION: RoomVersion = RoomVersion::V12;
pub(crate) const MALLORY: &str = "@mallory:matrix.example";

/// Xorshift.
pub(crate) struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.below(2);
        }
        dice
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    pub(crate) fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// The hostile server, and what it sees of the graph.
pub(crate) struct Mallory {
    identity: SigningIdentity,
    pub(crate) graph: String,
    pub(crate) dice: Dice,
    /// Events that it has made and given to nobody.
    withheld: Vec<Pdu>,
    made: i64,
}

impl Mallory {
    fn new(graph: String, seed: u64) -> Self {
        Self {
            identity: SigningIdentity::from_seed("matrix.example", "ed25519:m", &[6; 32]),
            graph,
            dice: Dice::new(seed),
            withheld: Vec::new(),
            made: 0,
        }
    }

    async fn joins(&mut self, engine: &Engine) {
        let join = json!({ "membership": "join" });
        let fate = self.says(engine, "m.room.member", Some(MALLORY), join).await;
        assert_eq!(fate, Fate::Accepted);
    }

    pub(crate) async fn state(&self, engine: &Engine) -> (Vec<EventId>, BTreeMap<(String, String), EventId>) {
        let (heads, entries) = engine.graph_state(ctx(), &self.graph).await.unwrap();
        let state = entries.into_iter().map(|(kind, key, id)| ((kind, key), id));
        (heads.heads, state.collect())
    }

    async fn draft(&mut self, engine: &Engine, kind: &str, key: Option<&str>, content: Value) -> Draft {
        let (heads, state) = self.state(engine).await;
        self.made += 1;
        let auth_events = auth_keys(VERSION, kind, MALLORY, key, &content)
            .unwrap()
            .iter()
            .filter_map(|of| state.get(&(of.event_type.clone(), of.state_key.clone())))
            .copied()
            .collect();
        Draft {
            room_id: Some(self.graph.clone()),
            event_type: kind.to_owned(),
            sender: MALLORY.to_owned(),
            state_key: key.map(str::to_owned),
            content,
            prev_events: heads.into_iter().take(10).collect(),
            auth_events,
            depth: 1_000,
            origin_server_ts: 1_900_000_000_000 + self.made,
        }
    }

    /// Hands events out; what the graph makes of each.
    pub(crate) async fn give(&self, engine: &Engine, pdus: Vec<Pdu>, past: bool) -> Vec<Fate> {
        let admit = GraphCommand::Admit {
            origin: (!past).then(|| "matrix.example".to_owned()),
            pdus,
            past,
        };
        match engine.graph(ctx(), &self.graph, admit).await.unwrap() {
            GraphReply::Admitted(admitted) => admitted.fates.into_iter().map(|(_, fate)| fate).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// An event on top of all that it sees.
    pub(crate) async fn event(
        &mut self,
        engine: &Engine,
        kind: &str,
        key: Option<&str>,
        content: Value,
    ) -> Pdu {
        let draft = self.draft(engine, kind, key, content).await;
        draft.sign(&self.identity, VERSION).unwrap()
    }

    /// Sends such an event; what the graph makes of it.
    pub(crate) async fn says(
        &mut self,
        engine: &Engine,
        kind: &str,
        key: Option<&str>,
        content: Value,
    ) -> Fate {
        let pdu = self.event(engine, kind, key, content).await;
        self.give(engine, vec![pdu], false).await.remove(0)
    }

    pub(crate) async fn redacts(&mut self, engine: &Engine, target: EventId) -> Fate {
        let content = json!({ "redacts": target });
        self.says(engine, "m.room.redaction", None, content).await
    }

    /// The node user's membership becomes another one.
    pub(crate) async fn puts_out(&mut self, engine: &Engine, membership: &str) -> Fate {
        let content = json!({ "membership": membership });
        let node = engine.node_user();
        self.says(engine, "m.room.member", Some(&node), content).await
    }

    /// An event at the greatest depth there is.
    pub(crate) async fn speak_deep(&mut self, engine: &Engine) {
        let mut deep = self
            .draft(engine, "m.room.message", None, json!({ "body": "deep" }))
            .await;
        deep.depth = MAX_INTEGER.unsigned_abs();
        let deep = deep.sign(&self.identity, VERSION).unwrap();
        assert_eq!(self.give(engine, vec![deep], false).await, [Fate::Accepted]);
    }

    /// Events of the graph.
    pub(crate) async fn events(&self, world: &World) -> Vec<Pdu> {
        let mut events = Vec::new();
        for line in world.engine(A).graph_events(&self.graph).await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap();
            let id = line["unsigned"]["event_id"].as_str().unwrap();
            events.push(stored(world, id).await);
        }
        events
    }

    /// One hostile thing; returns its name.
    pub(crate) async fn act(&mut self, world: &World) -> &'static str {
        let engine = &world.engine(A);
        let events = self.events(world).await;
        let carriers: Vec<Pdu> = events.iter().filter(|e| is_carrier(e)).cloned().collect();
        match self.dice.below(15) {
            0 => {
                // A carrier of its own, as good as it can make one.
                let like = self.dice.pick(&carriers);
                let mut content = like.content_value();
                if let Some(seq) = content.get("seq").and_then(Value::as_str) {
                    let next = seq.parse::<u64>().unwrap() + u64::from(self.dice.below(2) == 0);
                    content["seq"] = json!(next.to_string());
                }
                let fate = self.says(engine, like.event_type(), None, content).await;
                assert_eq!(fate, Fate::Accepted);
                "forged a carrier"
            }
            1 | 2 => {
                let target = self.dice.pick(&carriers).event_id();
                assert_eq!(self.redacts(engine, target).await, Fate::Accepted);
                "redacted a carrier"
            }
            3 => {
                // Of all carriers, as of new and of old.
                let emptied: Vec<Pdu> = carriers.iter().map(Pdu::redact).collect();
                let past = self.dice.below(2) == 0;
                let fates = self.give(engine, emptied, past).await;
                assert!(fates.iter().all(|fate| *fate == Fate::Known), "{fates:?}");
                "handed out emptied copies"
            }
            4 => {
                let copy = self.dice.pick(&carriers).redact();
                let complete = GraphCommand::Complete { pdu: copy };
                engine.graph(ctx(), &self.graph, complete).await.unwrap();
                "completed with an emptied copy"
            }
            5 => {
                let hidden = self
                    .event(engine, "m.room.topic", Some(""), json!({ "topic": "hidden" }))
                    .await;
                let mut child = self
                    .draft(engine, "m.room.name", Some(""), json!({ "name": "child" }))
                    .await;
                child.prev_events = vec![hidden.event_id()];
                let child = child.sign(&self.identity, VERSION).unwrap();
                self.withheld.push(hidden);
                assert_eq!(self.give(engine, vec![child], false).await, [Fate::Held]);
                "withheld a parent"
            }
            6 if !self.withheld.is_empty() => {
                let at = self.dice.below(self.withheld.len());
                let hidden = self.withheld.swap_remove(at);
                assert_eq!(self.give(engine, vec![hidden], false).await, [Fate::Accepted]);
                "gave out a parent"
            }
            7 => {
                // Two states at once, on old parents.
                let old = vec![self.dice.pick(&events).event_id()];
                let mut pdus = Vec::new();
                for topic in ["one", "other"] {
                    let mut draft = self
                        .draft(engine, "m.room.topic", Some(""), json!({ "topic": topic }))
                        .await;
                    draft.prev_events.clone_from(&old);
                    pdus.push(draft.sign(&self.identity, VERSION).unwrap());
                }
                // The parent may be from before it was let in.
                let fates = self.give(engine, pdus, false).await;
                let judged =
                    |fate: &Fate| matches!(fate, Fate::Accepted | Fate::SoftFailed(_) | Fate::Rejected(_));
                assert!(fates.iter().all(judged), "{fates:?}");
                "contradicted itself"
            }
            8 => {
                // No more than it has, or more.
                let most = self.dice.pick(&[100, MAX_INTEGER]);
                let mut levels = json!({ "users": { MALLORY: 100 }, "events": {}, "users_default": 0 });
                levels["events"][HANDSHAKE] = json!(100);
                levels["events"][MESSAGE] = json!(most);
                let fate = self.says(engine, "m.room.power_levels", Some(""), levels).await;
                assert_eq!(fate == Fate::Accepted, most == 100, "{fate:?}");
                "took the power"
            }
            9 => {
                // The node has made this graph, and nobody is above it.
                let what = self.dice.pick(&["ban", "leave"]);
                let fate = self.puts_out(engine, what).await;
                assert!(matches!(fate, Fate::Rejected(_)), "{fate:?}");
                "threw the node out"
            }
            10 => {
                // Itself it lets in, or nobody would hear what it does next.
                let acl = json!({ "allow": ["matrix.example"], "deny": [] });
                let fate = self.says(engine, "m.room.server_acl", Some(""), acl).await;
                assert_eq!(fate, Fate::Accepted);
                "denied all other servers"
            }
            11 => {
                self.speak_deep(engine).await;
                "spoke from the deep"
            }
            12 => {
                // A state that was never, before an event whose parents are nowhere.
                let mut hash = [0xee; 32];
                hash[0] = u8::try_from(self.dice.below(256)).unwrap();
                let mut pdu = self
                    .draft(engine, "m.room.topic", Some(""), json!({ "topic": "lie" }))
                    .await;
                pdu.prev_events = vec![EventId::from_hash(hash)];
                let pdu = pdu.sign(&self.identity, VERSION).unwrap();
                let some = self.dice.below(events.len());
                let state = events.iter().take(some).filter(|e| e.state_key().is_some());
                let state = state.map(Pdu::event_id).collect();
                let at = GraphCommand::AtState { pdu, state };
                // Where the state is none at all it may be refused.
                let _ = engine.graph(ctx(), &self.graph, at).await;
                "lied about a state"
            }
            13 => {
                let fates = self.give(engine, events, true).await;
                assert!(fates.iter().all(|fate| *fate == Fate::Known), "{fates:?}");
                "repeated everything"
            }
            _ => {
                let merged = engine.graph(ctx(), &self.graph, GraphCommand::Merge).await;
                drop(merged);
                "let ends pile up"
            }
        }
    }
}

pub(crate) fn is_carrier(pdu: &Pdu) -> bool {
    [HANDSHAKE, MESSAGE].contains(&pdu.event_type()) && pdu.sender() != MALLORY
}

async fn stored(world: &World, id: &str) -> Pdu {
    let octets = world.store(A).get(Space::Event, id.as_bytes()).await.unwrap();
    Pdu::parse_trusted(&octets.unwrap(), VERSION).unwrap()
}

/// Power levels under which only nodes get anywhere, and one user more.
pub(crate) fn levels(user: &str, level: u32) -> Value {
    let mut levels = json!({
        "users": { user: level }, "users_default": 0, "events_default": 100, "state_default": 100, "invite": 100,
        "kick": 100, "ban": 100, "redact": 100, "events": {},
    });
    for pinned in room_engine::carrier::PINNED {
        levels["events"][pinned] = json!(100);
    }
    levels
}

/// Lets the hostile server in, and gives it what a node can give.
pub(crate) async fn witness(world: &World, room: &str, seed: u64) -> Mallory {
    let engine = world.engine(A);
    let graph = engine.graph_of(&uri(room)).await.unwrap().unwrap();
    let own = async |kind: &str, key: &str, content: Value| {
        let key = Some(key.to_owned());
        let sent = engine
            .graph_send(ctx(), &graph, kind.to_owned(), key, content)
            .await;
        sent.unwrap();
    };
    own("m.room.member", MALLORY, json!({ "membership": "invite" })).await;
    own("m.room.power_levels", "", levels(MALLORY, 100)).await;
    let mut mallory = Mallory::new(graph, seed);
    mallory.joins(&engine).await;
    let ask = GraphCommand::Ask {
        asker: None,
        question: room_engine::graphs::Question::Heads,
    };
    let GraphReply::Heads(heads) = engine.graph(ctx(), &mallory.graph, ask).await.unwrap() else {
        panic!("no heads")
    };
    assert!(heads.servers.contains("matrix.example"), "it is in");
    mallory
}

/// Lets the hostile server make a graph, in which the node has what a node needs and nothing that can't be taken from
/// it, and puts the room into that.
pub(crate) async fn captor(world: &Arc<World>, room: &str) -> Mallory {
    let engine = world.engine(A);
    let mut mallory = Mallory::new(String::new(), 1);
    let create = Draft {
        room_id: None,
        event_type: "m.room.create".to_owned(),
        sender: MALLORY.to_owned(),
        state_key: Some(String::new()),
        content: json!({ "room_version": VERSION.as_str() }),
        prev_events: Vec::new(),
        auth_events: Vec::new(),
        depth: 1,
        origin_server_ts: 1_900_000_000_000,
    };
    let create = create.sign(&mallory.identity, VERSION).unwrap();
    mallory.graph = create.event_id().to_room_id();
    let establish = GraphCommand::Establish { version: VERSION };
    engine.graph(ctx(), &mallory.graph, establish).await.unwrap();
    assert_eq!(mallory.give(&engine, vec![create], false).await, [Fate::Accepted]);
    mallory.joins(&engine).await;
    for (kind, content) in [
        ("m.room.power_levels", levels(&engine.node_user(), 100)),
        ("m.room.join_rules", json!({ "join_rule": "public" })),
    ] {
        assert_eq!(
            mallory.says(&engine, kind, Some(""), content).await,
            Fate::Accepted
        );
    }
    let (kind, join) = ("m.room.member".to_owned(), json!({ "membership": "join" }));
    let node = Some(engine.node_user());
    engine
        .graph_send(ctx(), &mallory.graph, kind, node, join)
        .await
        .unwrap();
    move_into(world, room, &mallory.graph).await;
    mallory
}

/// Writes down that a graph which is nobody's is the room's.
async fn move_into(world: &Arc<World>, room: &str, graph: &str) {
    let store = world.stop(A).await;
    let rows = async |space: Space, prefix: &[u8]| {
        store
            .scan(Scan::prefix(space, prefix).limit(1_000))
            .await
            .unwrap()
    };
    let json_of = |value: &[u8]| serde_json::from_slice::<Value>(value).unwrap();
    let (from, foreign) = rows(Space::GraphRoom, b"").await.remove(0);
    let (to, record) = rows(Space::Room, b"").await.remove(0);
    let (foreign, mut record) = (json_of(&foreign), json_of(&record));
    assert_eq!(
        (&record["room"], &foreign["graph"]["room_id"]),
        (&json!(room), &json!(graph))
    );
    let mut head = json_of(&store.get(Space::RoomHead, &to).await.unwrap().unwrap());
    let before = record["graph"]["room_id"].as_str().unwrap().to_owned();
    record["graph"] = foreign["graph"].clone();
    let newest = head["graph"]["newest_ts"].clone();
    head["graph"] = foreign["head"].clone();
    head["graph"]["newest_ts"] = newest;
    let mut batch = Batch::new();
    for (key, _) in rows(Space::Timeline, &to).await {
        batch.delete(Space::Timeline, key);
    }
    for (key, value) in rows(Space::Timeline, &from).await {
        batch.put(Space::Timeline, [&to[..], &key[from.len()..]].concat(), value);
        batch.delete(Space::Timeline, key);
    }
    batch.put(Space::Room, to.clone(), record.to_string());
    batch.put(Space::RoomHead, to, head.to_string());
    batch.delete(Space::GraphRoom, from);
    batch.delete(Space::RoomIndex, format!("graph:{before}"));
    batch.put(
        Space::RoomIndex,
        format!("graph:{graph}"),
        json!(room).to_string(),
    );
    store.commit(batch).await.unwrap();
    world.start(A, store).await;
}
