//! What needs several crates or real peers: see the modules below `tests/`.
