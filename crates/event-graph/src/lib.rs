//! Matrix event graphs: PDUs, hashes, signatures, auth rules, state resolution. Pure.
