//! The storage trait, its shared suite, and its implementations: memory and sled.
