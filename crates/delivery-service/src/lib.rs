//! A hub's judgement for one room: MLS group tracking, policy, key packages, Welcome routing. Pure.
