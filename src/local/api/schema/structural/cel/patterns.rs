//! `matches` of CEL with patterns compiled once: the interpreter compiles them whenever a rule runs, which costs more than
//! all else of a rule.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use kube_cel::cel::{ExecutionError, FunctionContext, extractors::This, functions};
use regex::{Regex, RegexBuilder};

/// Patterns kept per thread. They stand in rules; a rule that takes its pattern out of the object could bring many.
const KEPT: usize = 64;
/// Largest compiled pattern that is kept, in bytes.
const KEPT_SIZE: usize = 256 << 10;

thread_local! {
    static COMPILED: RefCell<HashMap<Arc<String>, Regex>> = RefCell::default();
}

pub(super) fn matches(
    ftx: &FunctionContext,
    This(this): This<Arc<String>>,
    pattern: Arc<String>,
) -> Result<bool, ExecutionError> {
    let known = COMPILED.with_borrow(|compiled| Some(compiled.get(&pattern)?.is_match(&this)));
    if let Some(matches) = known {
        return Ok(matches);
    }
    let Ok(compiled) = RegexBuilder::new(&pattern).size_limit(KEPT_SIZE).build() else {
        return functions::matches(ftx, This(this), pattern);
    };
    let matches = compiled.is_match(&this);
    COMPILED.with_borrow_mut(|kept| {
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(pattern, compiled);
    });
    Ok(matches)
}
