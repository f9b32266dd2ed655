//! Every bound this crate enforces, in one place.

/// Largest PDU in canonical JSON, signatures included, `unsigned` left out, in bytes.
pub const MAX_PDU_BYTES: usize = 65_536;
/// Largest PDU as received, before it is brought into canonical form, in bytes. Room for white space,
/// escapes and `unsigned`.
pub const MAX_WIRE_BYTES: usize = 4 * MAX_PDU_BYTES;
/// Longest `type`, `state_key`, `sender`, `room_id`, in bytes.
pub const MAX_ID_BYTES: usize = 255;
/// Most entries in `prev_events`.
pub const MAX_PREV_EVENTS: usize = 20;
/// Most entries in `auth_events`.
pub const MAX_AUTH_EVENTS: usize = 10;
/// Largest integer JSON may carry, 2^53 - 1; the smallest is its negative.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;
/// Most arrays and objects inside one another. The specification knows no bound; the parser needs no stack
/// for it; the bound is where the reference homeserver's own parser gives up.
pub const MAX_NESTING: usize = 1_000;
