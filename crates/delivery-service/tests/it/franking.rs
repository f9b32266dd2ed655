//! Franks, from the sender's tag to an abuse report.

use crate::client::{each_suite, uri};
use crate::room::{NOW, Room};
use delivery_service::franking::{FrankFault, FrankingContext, frank, franking_tag, verify};
use delivery_service::{HubIdentity, HubSeeds};
use mimi_wire::Domain;
use mimi_wire::mls::CipherSuite;
use openmls::prelude::Ciphersuite;
use zeroize::Zeroizing;

#[test]
fn a_frank_proves_one_message() {
    each_suite(a_frank_proves_one_message_of);
}

fn a_frank_proves_one_message_of(suite: Ciphersuite) {
    let mut room = Room::of_three_and(suite);
    let (text, salt) = (b"insult".as_slice(), [5u8; 16]);
    let tag = mimi_wire::franking::franking_tag(&salt, text);
    let request = room.clients[1].message(text, Some(tag));
    assert_eq!(franking_tag(request.app_message()), Some(tag));
    let context = FrankingContext {
        sender: request.sending_uri.clone(),
        room: room.group.room_uri().clone(),
        accepted_ms: NOW,
    };
    let suite = room.group.cipher_suite();
    let agent = room.group.franking_agent().unwrap();
    let made = frank(&room.hub, &agent, suite, request.app_message(), &context).unwrap();
    assert_eq!(verify(&room.hub, text, &salt, &context, &made), Ok(()));

    let frank_fault = Err(FrankFault::ServerFrank);
    assert_eq!(verify(&room.hub, b"praise", &salt, &context, &made), frank_fault);
    assert_eq!(verify(&room.hub, text, &[6; 16], &context, &made), frank_fault);
    for other in [
        FrankingContext {
            sender: uri("mimi://c.example/u/carol"),
            ..context.clone()
        },
        FrankingContext {
            room: uri("mimi://a.example/r/other"),
            ..context.clone()
        },
        FrankingContext {
            accepted_ms: NOW + 1,
            ..context.clone()
        },
    ] {
        assert_eq!(verify(&room.hub, text, &salt, &other, &made), frank_fault);
    }
    let mut forged = made.clone();
    forged.franking_integrity_signature.0[0] ^= 1;
    assert_eq!(
        verify(&room.hub, text, &salt, &context, &forged),
        Err(FrankFault::Signature)
    );
    // The signature is over the suite too, and of its scheme.
    for other in (0..8).map(CipherSuite).filter(|other| *other != suite) {
        let mut moved = made.clone();
        moved.franking_signature_ciphersuite = other;
        let fault = match other.0 {
            1..=3 => FrankFault::Signature,
            _ => FrankFault::CipherSuite,
        };
        assert_eq!(verify(&room.hub, text, &salt, &context, &moved), Err(fault));
    }
    let domain = Domain::parse("a.example").unwrap();
    let other_hub = HubIdentity::from_seeds(domain, [1; 32], [2; 32], [9; 32]);
    assert_eq!(verify(&other_hub, text, &salt, &context, &made), frank_fault);

    let plain = room.clients[1].message(text, None);
    assert_eq!(
        frank(&room.hub, &agent, suite, plain.app_message(), &context),
        None
    );
    for other in [0, 4, 5, 6, 7, 0xf000].map(CipherSuite) {
        assert_eq!(
            frank(&room.hub, &agent, other, request.app_message(), &context),
            None
        );
    }
}

#[test]
fn a_frank_outlives_the_rotation_of_every_key() {
    each_suite(a_frank_outlives_the_rotation_of_every_key_of);
}

fn a_frank_outlives_the_rotation_of_every_key_of(suite: Ciphersuite) {
    let mut room = Room::of_three_and(suite);
    let (text, salt) = (b"insult".as_slice(), [5u8; 16]);
    let tag = mimi_wire::franking::franking_tag(&salt, text);
    let request = room.clients[1].message(text, Some(tag));
    let context = |accepted_ms| FrankingContext {
        sender: request.sending_uri.clone(),
        room: room.group.room_uri().clone(),
        accepted_ms,
    };
    let agent = room.group.franking_agent().unwrap();
    let suite = room.group.cipher_suite();
    let before = frank(&room.hub, &agent, suite, request.app_message(), &context(NOW)).unwrap();

    let hour = 60 * 60 * 1000;
    let seeds = |old: bool, hub_key: u8| {
        let ring = |first: u8, second: u8| {
            let all = [first, second].map(|n| Zeroizing::new([n; 32]));
            all.into_iter().skip(usize::from(!old)).collect()
        };
        HubSeeds {
            signing: ring(1, 11),
            franking: ring(2, 12),
            hub_keys: vec![
                (0, Zeroizing::new([hub_key; 32])),
                (NOW + hour, Zeroizing::new([13; 32])),
            ],
        }
    };
    let domain = || Domain::parse("a.example").unwrap();
    let rotated = HubIdentity::from_rings(domain(), seeds(true, 3)).unwrap();
    assert_eq!(verify(&rotated, text, &salt, &context(NOW), &before), Ok(()));
    // The room goes on with the agent that it names, under the new HMAC key.
    let later = NOW + 2 * hour;
    let after = frank(&rotated, &agent, suite, request.app_message(), &context(later)).unwrap();
    assert_eq!(verify(&rotated, text, &salt, &context(later), &after), Ok(()));
    assert_ne!(before.server_frank, after.server_frank);
    // Whoever has only the retired HMAC key makes no frank for a time after it.
    let forged = frank(&room.hub, &agent, suite, request.app_message(), &context(later)).unwrap();
    assert_eq!(
        verify(&rotated, text, &salt, &context(later), &forged),
        Err(FrankFault::ServerFrank)
    );
    // A ring without the old keys proves nothing of before.
    let forgetful = HubIdentity::from_rings(domain(), seeds(false, 3)).unwrap();
    assert_eq!(
        verify(&forgetful, text, &salt, &context(NOW), &before),
        Err(FrankFault::Signature)
    );
    assert_eq!(
        frank(&forgetful, &agent, suite, request.app_message(), &context(later)),
        None
    );
}
