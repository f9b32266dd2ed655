//! Users towards users outside of any room: consent in both directions, and searches.

use mimi_wire::codec::Encode as _;
use mimi_wire::components::AppDataDictionary;
use mimi_wire::mls::KeyPackage;
use mimi_wire::protocol::{
    ConsentEntry, ConsentOperation, IdentifierQueryCode as Code, IdentifierRequest, KeyMaterialUserCode,
    QueryElement, SearchIdentifierType as By,
};
use mimi_wire::uri::MimiUri;
use mls_client::ClientError;
use room_engine::{
    ConsentAnswer, ConsentView, Notice, ProfileField, RequiredOf, Searchable, Sent, Vocabulary,
};

use crate::world::{A, B, Person, World, ctx, domain, uri};

const ALICE: &str = "mimi://a.example/u/alice";
const BOB: &str = "mimi://b.example/u/bob";

fn entry(operation: ConsentOperation, requester: &str, target: &str) -> ConsentEntry {
    ConsentEntry {
        consent_operation: operation,
        requester_uri: uri(requester),
        target_uri: uri(target),
        room_id: None,
        client_key_packages: Vec::new(),
        consent_extensions: AppDataDictionary::default(),
    }
}

async fn of_others(world: &World) -> Vec<ConsentView> {
    world
        .engine(A)
        .consents(ctx(), &uri(ALICE))
        .await
        .unwrap()
        .of_others
}

async fn asked(world: &World) -> Vec<ConsentView> {
    world.engine(B).consent_requests(ctx(), &uri(BOB)).await.unwrap()
}

/// From here on who comes from elsewhere has to ask Bob.
async fn bob_requires_consent(world: &World) {
    world
        .engine(B)
        .set_settings(ctx(), &uri(BOB), Some(RequiredOf::Foreign), Vec::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_is_added_without_consent_and_a_refusal_is_silent() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    world.user(B, "bob").await;
    bob_requires_consent(&world).await;
    let room = alice.client.create("club").await.unwrap();
    let refused = alice.client.add(&room, &[uri(BOB)]).await;
    assert!(
        matches!(&refused, Err(ClientError::NoKeyPackages { .. })),
        "{refused:?}"
    );

    // Asked: it arrives once, survives restarts, and Bob's people are told.
    let mut notices = world.engine(B).notices();
    let ask = || async {
        world
            .engine(A)
            .ask_consent(ctx(), &uri(ALICE), &uri(BOB), None)
            .await
    };
    ask().await.unwrap();
    ask().await.unwrap();
    world.quiet().await;
    let notice = notices.recv().await.unwrap();
    let expected = Notice::ConsentAsked {
        requester: uri(ALICE),
        room: None,
    };
    assert_eq!((notice.user, notice.what), (uri(BOB), expected));
    assert!(notices.try_recv().is_err(), "asked once");
    world.restart(B).await;
    assert_eq!(asked(&world).await.len(), 1);
    let open = world.engine(B).open_consent_requests().await.unwrap();
    assert_eq!((open.len(), &open[0].0), (1, &uri(BOB)));
    assert_eq!(of_others(&world).await[0].sent, Some(Sent::Delivered));

    // Granted: Alice's provider knows, and Bob can be added.
    let answer = |answer| {
        let engine = world.engine(B);
        async move {
            engine
                .answer_consent(ctx(), &uri(BOB), &uri(ALICE), None, answer)
                .await
        }
    };
    answer(ConsentAnswer::Grant).await.unwrap();
    world.quiet().await;
    assert!(of_others(&world).await[0].answer.unwrap().granted);
    assert!(asked(&world).await.is_empty());
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();

    // Taken back without a word: nothing is sent, and the next claim finds no consent.
    answer(ConsentAnswer::Refuse { tell: false }).await.unwrap();
    world.quiet().await;
    assert!(of_others(&world).await[0].answer.unwrap().granted);
    let second = alice.client.create("second").await.unwrap();
    let refused = alice.client.add(&second, &[uri(BOB)]).await;
    assert!(
        matches!(&refused, Err(ClientError::NoKeyPackages { .. })),
        "{refused:?}"
    );
    // Somebody who was refused asks in vain, and the answer is the same as ever.
    let from = domain(A);
    let again = entry(ConsentOperation::Request, ALICE, BOB);
    world
        .engine(B)
        .request_consent(ctx(), &from, again)
        .await
        .unwrap();
    assert!(asked(&world).await.is_empty());

    // Told: only then does Alice's side change.
    answer(ConsentAnswer::Forget).await.unwrap();
    answer(ConsentAnswer::Refuse { tell: true }).await.unwrap();
    world.quiet().await;
    assert!(!of_others(&world).await[0].answer.unwrap().granted);
}

#[tokio::test]
async fn a_grant_for_one_room_opens_that_room_alone() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    world.user(B, "bob").await;
    bob_requires_consent(&world).await;
    let [club, other] = [
        alice.client.create("club").await.unwrap(),
        alice.client.create("other").await.unwrap(),
    ];
    let engine = world.engine(B);
    engine
        .answer_consent(
            ctx(),
            &uri(BOB),
            &uri(ALICE),
            Some(&uri(&club)),
            ConsentAnswer::Grant,
        )
        .await
        .unwrap();
    let status = async |room: &str| {
        let request = alice.client.engine().claim(room, &uri(BOB)).unwrap();
        let answer = world
            .engine(B)
            .serve_key_material(ctx(), &domain(A), request)
            .await;
        answer.unwrap().user_status
    };
    assert_eq!(status(&other).await, KeyMaterialUserCode::NoConsentForThisRoom);
    assert_eq!(status(&club).await, KeyMaterialUserCode::Success);
}

#[tokio::test]
async fn a_peer_can_t_tell_who_exists_or_act_for_others() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    world.user(B, "bob").await;
    bob_requires_consent(&world).await;
    let engine = world.engine(B);
    let from = domain(A);
    // Taken, whoever is meant; nothing is kept of one who isn't there.
    let nobody = "mimi://b.example/u/nobody";
    for operation in [ConsentOperation::Request, ConsentOperation::Cancel] {
        for target in [BOB, nobody] {
            let taken = engine
                .request_consent(ctx(), &from, entry(operation, ALICE, target))
                .await;
            taken.unwrap();
        }
    }
    for operation in [ConsentOperation::Grant, ConsentOperation::Revoke] {
        for requester in [BOB, nobody] {
            let taken = engine
                .update_consent(ctx(), &from, entry(operation, requester, ALICE))
                .await;
            taken.unwrap();
        }
    }
    assert!(
        engine
            .consents(ctx(), &uri(nobody))
            .await
            .unwrap()
            .of_others
            .is_empty()
    );
    // The same answer to a claim, but for the name.
    let room = alice.client.create("club").await.unwrap();
    let mut answers = Vec::new();
    for target in [BOB, nobody] {
        let request = alice.client.engine().claim(&room, &uri(target)).unwrap();
        let mut answer = engine.serve_key_material(ctx(), &from, request).await.unwrap();
        answer.user_uri = uri(BOB);
        answers.push(answer.to_bytes());
    }
    assert_eq!(answers[0], answers[1]);
    // Neither for users of others, nor at the wrong endpoint.
    let other = "mimi://c.example/u/carol";
    for entry in [
        entry(ConsentOperation::Request, other, BOB),
        entry(ConsentOperation::Request, ALICE, other),
        entry(ConsentOperation::Grant, ALICE, BOB),
    ] {
        assert!(engine.request_consent(ctx(), &from, entry).await.is_err());
    }
    let misplaced = entry(ConsentOperation::Request, ALICE, BOB);
    assert!(engine.update_consent(ctx(), &from, misplaced).await.is_err());
}

#[tokio::test]
async fn requests_are_bounded_and_can_be_taken_back() {
    let world = World::new().await;
    world.user(A, "alice").await;
    world.user(B, "bob").await;
    let engine = world.engine(B);
    for n in 0..220 {
        let spammer = format!("mimi://a.example/u/spammer{n}");
        engine
            .request_consent(ctx(), &domain(A), entry(ConsentOperation::Request, &spammer, BOB))
            .await
            .unwrap();
    }
    assert_eq!(asked(&world).await.len(), 200);
    let cancel = entry(ConsentOperation::Cancel, "mimi://a.example/u/spammer7", BOB);
    engine.request_consent(ctx(), &domain(A), cancel).await.unwrap();
    assert_eq!(asked(&world).await.len(), 199);

    // Alice's own: taken back before the other side was ever reached, in order.
    world.stop_senders(A).await;
    let alice = world.engine(A);
    alice
        .ask_consent(ctx(), &uri(ALICE), &uri(BOB), None)
        .await
        .unwrap();
    alice
        .cancel_consent(ctx(), &uri(ALICE), &uri(BOB), None)
        .await
        .unwrap();
    world.restart(A).await;
    world.quiet().await;
    assert_eq!(asked(&world).await.len(), 199);
    assert!(of_others(&world).await.is_empty());
}

#[tokio::test]
async fn users_of_one_provider_ask_each_other_directly() {
    let world = World::new().await;
    world.user(A, "alice").await;
    world.user(A, "carol").await;
    let (alice, carol) = (uri(ALICE), uri("mimi://a.example/u/carol"));
    let engine = world.engine(A);
    engine.ask_consent(ctx(), &alice, &carol, None).await.unwrap();
    assert_eq!(
        engine.consent_requests(ctx(), &carol).await.unwrap()[0].other,
        alice
    );
    engine
        .answer_consent(ctx(), &carol, &alice, None, ConsentAnswer::Grant)
        .await
        .unwrap();
    assert!(of_others(&world).await[0].answer.unwrap().granted);
    let gone = engine.ask_consent(ctx(), &alice, &alice, None).await;
    assert!(gone.is_err(), "nobody needs its own consent");
    // With the account goes what was said to it.
    engine.remove_account(ctx(), "carol").await.unwrap();
    assert!(engine.consents(ctx(), &carol).await.unwrap().of_me.is_empty());
}

fn field(vocabulary: Vocabulary, name: &str, value: &str, search: Searchable, shown: bool) -> ProfileField {
    ProfileField {
        vocabulary,
        name: name.to_owned(),
        value: value.to_owned(),
        search,
        shown,
    }
}

#[tokio::test]
async fn a_search_finds_who_wants_to_be_found_and_shows_what_they_show() {
    let world = World::new().await;
    let engine = world.engine(B);
    let find = async |search_type, value: &str| {
        let request = IdentifierRequest {
            query_elements: vec![QueryElement {
                search_type,
                field_name: String::new(),
                search_value: value.to_owned(),
            }],
            id_request_extensions: AppDataDictionary::default(),
        };
        let answer = world.engine(B).identifier_query(&request).await.unwrap();
        let fields: Vec<_> = answer
            .found_profiles
            .iter()
            .flat_map(|p| p.fields.iter().map(|f| f.field_name.clone()))
            .collect();
        (answer.response_code, answer.uri, fields)
    };
    let nothing = |code| (code, Vec::<MimiUri>::new(), Vec::<String>::new());
    let handle = "im:bob@b.example";
    engine.add_account(ctx(), "bob").await.unwrap();
    assert_eq!(
        find(By::Handle, handle).await,
        nothing(Code::NotFound),
        "nothing by default"
    );

    let profile = |search| {
        vec![
            field(Vocabulary::Vcard, "IMPP", handle, search, true),
            field(Vocabulary::Oidc, "name", "Bob Builder", Searchable::No, true),
            field(
                Vocabulary::Oidc,
                "email",
                "bob@b.example",
                Searchable::Exact,
                false,
            ),
        ]
    };
    let set = async |user: &str, search| {
        let settings = world
            .engine(B)
            .set_settings(ctx(), &uri(user), None, profile(search))
            .await;
        settings.unwrap();
    };
    set(BOB, Searchable::Exact).await;
    let shown = vec!["IMPP".to_owned(), "name".to_owned()];
    let found = (Code::Success, vec![uri(BOB)], shown);
    assert_eq!(find(By::Handle, handle).await, found);
    assert_eq!(find(By::Email, "bob@b.example").await, found);
    assert_eq!(find(By::Handle, "im:bob@b.exampl").await, nothing(Code::NotFound));
    assert_eq!(find(By::PartialName, "Builder").await, nothing(Code::Ambiguous));
    // More of them than are told: none is.
    for n in 0..10 {
        engine.add_account(ctx(), &format!("bob{n}")).await.unwrap();
        set(&format!("mimi://b.example/u/bob{n}"), Searchable::Exact).await;
    }
    assert_eq!(find(By::Handle, handle).await, nothing(Code::Ambiguous));
    // Taken back, and gone with the account.
    for n in 0..10 {
        set(&format!("mimi://b.example/u/bob{n}"), Searchable::No).await;
    }
    assert_eq!(find(By::Nick, "bob").await.1, vec![uri(BOB)]);
    engine.remove_account(ctx(), "bob").await.unwrap();
    assert_eq!(find(By::Handle, handle).await, nothing(Code::NotFound));
}

#[tokio::test]
async fn key_packages_of_a_grant_are_used_once_and_not_asked_for() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    world.user(B, "bob").await;
    bob_requires_consent(&world).await;
    let stock = async || {
        world.engine(B).devices(ctx(), &uri(BOB)).await.unwrap()[0]
            .stock
            .available
    };
    let before = stock().await;
    let answer = |answer| {
        let engine = world.engine(B);
        async move {
            let (bob, alice) = (uri(BOB), uri(ALICE));
            engine
                .answer_consent(ctx(), &bob, &alice, None, answer)
                .await
                .unwrap();
        }
    };
    // Unasked, a grant carries none.
    answer(ConsentAnswer::Grant).await;
    assert_eq!(stock().await, before);
    answer(ConsentAnswer::Forget).await;
    world.quiet().await;

    let ask = async || {
        let (alice, bob) = (uri(ALICE), uri(BOB));
        let engine = world.engine(A);
        engine.cancel_consent(ctx(), &alice, &bob, None).await.unwrap();
        engine.ask_consent(ctx(), &alice, &bob, None).await.unwrap();
        world.quiet().await;
    };
    world
        .engine(A)
        .update_consent(ctx(), &domain(B), entry(ConsentOperation::Revoke, ALICE, BOB))
        .await
        .unwrap();
    ask().await;
    answer(ConsentAnswer::Grant).await;
    world.quiet().await;
    assert_eq!(stock().await, before - 1, "one went with the grant");
    for name in [A, B] {
        world.restart(name).await;
    }
    let room = alice.client.create("club").await.unwrap();
    alice.client.add(&room, &[uri(BOB)]).await.unwrap();
    assert_eq!(stock().await, before - 1, "and no other was needed");
    // They are used up: the next room costs one more.
    let second = alice.client.create("second").await.unwrap();
    alice.client.add(&second, &[uri(BOB)]).await.unwrap();
    assert_eq!(stock().await, before - 2);
}

/// A KeyPackage of a user of B, fetched for a room of Alice's.
async fn fetched(world: &World, alice: &Person, room: &str, user: &str) -> KeyPackage {
    let request = alice.client.engine().claim(room, &uri(user)).unwrap();
    let answer = world
        .engine(B)
        .serve_key_material(ctx(), &domain(A), request)
        .await
        .unwrap();
    let (_, package) = answer.key_packages().next().unwrap();
    package.clone()
}

#[tokio::test]
async fn key_packages_of_a_grant_are_checked_and_taken_in_once() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    world.user(B, "bob").await;
    world.user(B, "carol").await;
    let room = alice.client.create("club").await.unwrap();
    let foreign = fetched(&world, &alice, &room, "mimi://b.example/u/carol").await;
    let own = fetched(&world, &alice, &room, BOB).await;
    let mut stock = world.engine(B).devices(ctx(), &uri(BOB)).await.unwrap()[0]
        .stock
        .available;
    for (packages, used) in [
        (vec![foreign.clone()], false),
        (vec![own.clone(), foreign], false),
        (vec![own.clone(), own.clone()], false),
        (vec![own.clone()], true),
        // The same grant once more, as after a lost answer.
        (vec![own], false),
        (Vec::new(), false),
    ] {
        let grant = ConsentEntry {
            client_key_packages: packages,
            ..entry(ConsentOperation::Grant, ALICE, BOB)
        };
        world
            .engine(A)
            .update_consent(ctx(), &domain(B), grant)
            .await
            .unwrap();
        let room = alice.client.create("room").await.unwrap();
        alice.client.add(&room, &[uri(BOB)]).await.unwrap();
        stock -= u32::from(!used);
        let left = world.engine(B).devices(ctx(), &uri(BOB)).await.unwrap()[0]
            .stock
            .available;
        assert_eq!(left, stock);
    }
}

#[tokio::test]
async fn that_a_user_is_gone_is_told_to_whom_it_had_let_in() {
    let world = World::new().await;
    let (mut alice, _) = world.user(A, "alice").await;
    let (mut eve, _) = world.user(A, "eve").await;
    let (mut carol, _) = world.user(B, "carol").await;
    world.user(B, "bob").await;
    let engine = world.engine(B);
    engine
        .answer_consent(ctx(), &uri(BOB), &uri(ALICE), None, ConsentAnswer::Grant)
        .await
        .unwrap();
    let rooms = [
        alice.client.create("a").await.unwrap(),
        eve.client.create("e").await.unwrap(),
        carol.client.create("c").await.unwrap(),
    ];
    let status = async |who: &Person, room: &str, from: &str| {
        let request = who.client.engine().claim(room, &uri(BOB)).unwrap();
        let answer = engine.serve_key_material(ctx(), &domain(from), request).await;
        answer.unwrap().user_status
    };
    engine.remove_account(ctx(), "bob").await.unwrap();
    assert_eq!(
        status(&alice, &rooms[0], A).await,
        KeyMaterialUserCode::UserDeleted
    );
    assert_eq!(status(&eve, &rooms[1], A).await, KeyMaterialUserCode::NoConsent);
    assert_eq!(
        status(&carol, &rooms[2], B).await,
        KeyMaterialUserCode::UserDeleted
    );
    // Somebody else has the name now.
    engine.add_account(ctx(), "bob").await.unwrap();
    engine.remove_account(ctx(), "bob").await.unwrap();
    assert_eq!(status(&alice, &rooms[0], A).await, KeyMaterialUserCode::NoConsent);
}
