//! A bound on what evaluating a rule costs, so that no rule and no object can occupy the server.
//!
//! The CEL library has no budget of its own. The bound is an estimate from above: nodes and text of
//! the values that are copied, times the turns of the loops around them.

use kube_cel::cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr},
};
use serde_json::Value;

/// Cost that all rules together may have for one object. About a second of work at the very worst.
pub(super) const BUDGET: u64 = 20_000_000;

/// Size of the values that a rule sees.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Nodes, and text in units of 16 bytes.
    pub total: u64,
    /// Members of the largest list or map.
    pub widest: u64,
}

impl Size {
    pub fn of(value: &Value) -> Self {
        let mut size = Size::default();
        size.add(value);
        size
    }

    pub fn add(&mut self, value: &Value) {
        self.total += 1;
        match value {
            Value::String(s) => self.total += s.len() as u64 / 16,
            Value::Array(items) => {
                self.widest = self.widest.max(items.len() as u64);
                items.iter().for_each(|item| self.add(item));
            }
            Value::Object(map) => {
                self.widest = self.widest.max(map.len() as u64);
                for (name, value) in map {
                    self.total += name.len() as u64 / 16;
                    self.add(value);
                }
            }
            _ => {}
        }
    }
}

/// Upper bound for one evaluation. `local` is the size of what loop variables hold.
pub(super) fn estimate(expr: &IdedExpr, size: Size, local: u64) -> u64 {
    let sum = |exprs: &[IdedExpr]| {
        exprs
            .iter()
            .fold(0u64, |sum, expr| sum.saturating_add(estimate(expr, size, local)))
    };
    match &expr.expr {
        Expr::Ident(name) if name == "self" || name == "oldSelf" => size.total,
        Expr::Ident(_) => local,
        Expr::Select(select) => estimate(&select.operand, size, local).saturating_add(1),
        Expr::Call(call) => {
            let target = call
                .target
                .as_ref()
                .map_or(0, |target| estimate(target, size, local));
            sum(&call.args).saturating_add(target).saturating_add(1)
        }
        Expr::List(list) => sum(&list.elements).saturating_add(1),
        Expr::Map(map) => map.entries.iter().fold(1u64, |sum, entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => sum
                .saturating_add(estimate(&entry.key, size, local))
                .saturating_add(estimate(&entry.value, size, local)),
            EntryExpr::StructField(field) => sum.saturating_add(estimate(&field.value, size, local)),
        }),
        Expr::Comprehension(loops) => {
            let turns = match &loops.iter_range.expr {
                Expr::List(list) => list.elements.len() as u64,
                _ => size.widest,
            }
            .max(1);
            let member = (local.max(size.total) / turns).max(1);
            let mut turn = estimate(&loops.loop_step, size, member)
                .saturating_add(estimate(&loops.loop_cond, size, member))
                .saturating_add(1);
            // `map` and `filter` copy what they have collected on every turn
            if matches!(loops.accu_init.expr, Expr::List(_) | Expr::Map(_)) {
                turn = turn.saturating_add(turns / 2);
            }
            turn.saturating_mul(turns)
                .saturating_add(estimate(&loops.iter_range, size, local))
                .saturating_add(estimate(&loops.accu_init, size, local))
                .saturating_add(estimate(&loops.result, size, local))
        }
        Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => 1,
    }
}
