//! Whatever a tree of actions says: it is refused with a sentence, or read, kept and laid out alike.

use serde_json::{Map, Value};

use super::tree::Tree;
use crate::crd::{Action, MAX_ACTION_DEPTH, MAX_ACTIONS};
use crate::fuzz;

fn tree(bytes: &[u8]) {
    let Ok(map) = serde_json::from_slice::<Map<String, Value>>(bytes) else {
        return;
    };
    let action = match Action::read(&map) {
        Ok(action) => action,
        Err(error) => {
            assert!(error.to_string().contains("action"), "{error}");
            return;
        }
    };
    let kept = action.to_map();
    assert_eq!(Action::read(&kept).as_ref(), Ok(&action));
    let laid_out = Tree::new(action, Some("LOG".to_owned()));
    assert!(laid_out.nodes.len() <= MAX_ACTIONS);
    for id in 0..laid_out.nodes.len() {
        let mut depth = 1;
        let mut at = id;
        while let Some(parent) = laid_out.nodes[at].parent {
            assert!(laid_out.children(parent).contains(&at));
            (at, depth) = (parent, depth + 1);
        }
        assert_eq!(at, 0);
        assert!(depth <= MAX_ACTION_DEPTH);
    }
}

#[test]
fn action_tree() {
    fuzz::check("action_tree", tree);
}
