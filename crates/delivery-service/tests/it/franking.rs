//! Franks, from the sender's tag to an abuse report.

use crate::client::uri;
use crate::room::{NOW, Room};
use delivery_service::HubIdentity;
use delivery_service::franking::{FrankFault, FrankingContext, frank, franking_tag, verify};
use mimi_wire::Domain;
use mimi_wire::mls::CipherSuite;

#[test]
fn a_frank_proves_one_message() {
    let mut room = Room::of_three();
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
    let made = frank(&room.hub, suite, request.app_message(), &context).unwrap();
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
    let mut suite = made.clone();
    suite.franking_signature_ciphersuite = CipherSuite(2);
    assert_eq!(
        verify(&room.hub, text, &salt, &context, &suite),
        Err(FrankFault::CipherSuite)
    );
    let domain = Domain::parse("a.example").unwrap();
    let other_hub = HubIdentity::from_seeds(domain, [1; 32], [2; 32], [9; 32]);
    assert_eq!(verify(&other_hub, text, &salt, &context, &made), frank_fault);

    let plain = room.clients[1].message(text, None);
    assert_eq!(
        frank(&room.hub, CipherSuite(1), plain.app_message(), &context),
        None
    );
}
