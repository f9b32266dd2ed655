//! The tree hash of a ratchet tree (RFC 9420 section 7.8).
//!
//! openmls gives out the tree after a commit only once the commit is merged. Two trees with one hash are
//! the same tree, so a tree that a committer sends along is compared by its hash before anything is merged.

use mimi_wire::Encode;
use mimi_wire::codec::encode_opaque;
use mimi_wire::mls::{HashAlgorithm, Node, RatchetTree};

/// The hash of the whole tree; `None` if the nodes can't be those of a tree.
pub(super) fn tree_hash(algorithm: HashAlgorithm, tree: &RatchetTree) -> Option<Vec<u8>> {
    let nodes = tree.nodes();
    // The extension leaves out trailing blanks, never a node (RFC 9420 section 12.4.3.3).
    if nodes.last().is_none_or(Option::is_none) {
        return None;
    }
    let leaves = nodes.len().div_ceil(2).checked_next_power_of_two()?;
    subtree(algorithm, &nodes, leaves.trailing_zeros(), 0)
}

/// The hash of the subtree of `2^level` leaves whose leftmost leaf is `first`.
fn subtree(algorithm: HashAlgorithm, nodes: &[Option<Node>], level: u32, first: usize) -> Option<Vec<u8>> {
    let width = 1usize.checked_shl(level)?;
    let index = first.checked_mul(2)?.checked_add(width)?.checked_sub(1)?;
    let node = nodes.get(index).and_then(Option::as_ref);
    let mut input = Vec::new();
    if level == 0 {
        input.push(1);
        u32::try_from(first).ok()?.encode(&mut input);
        match node {
            None => input.push(0),
            Some(Node::Leaf(leaf)) => {
                input.push(1);
                leaf.encode(&mut input);
            }
            Some(Node::Parent(_)) => return None,
        }
    } else {
        input.push(2);
        match node {
            None => input.push(0),
            Some(Node::Parent(parent)) => {
                input.push(1);
                parent.encode(&mut input);
            }
            Some(Node::Leaf(_)) => return None,
        }
        let half = width / 2;
        encode_opaque(&subtree(algorithm, nodes, level - 1, first)?, &mut input);
        encode_opaque(&subtree(algorithm, nodes, level - 1, first + half)?, &mut input);
    }
    Some(algorithm.hash(&input))
}
