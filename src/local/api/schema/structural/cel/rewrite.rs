//! Parts of Kubernetes' CEL that the interpreter lacks or gets wrong, said in terms that it knows.

use kube_cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, operators},
};

/// Rewrite an expression:
/// - `a.?b` becomes `a[?"b"]` (selecting an absent field fails instead of giving none),
/// - `a.?b.c` becomes `a[?"b"][?"c"]` (an optional passes selection on),
/// - `cel.bind(x, init, body)`, `a.optMap(x, body)` and `a.optFlatMap(x, body)` become what these
///   macros stand for.
pub(super) fn rewrite(expr: IdedExpr) -> IdedExpr {
    let id = expr.id;
    let all = |exprs: Vec<IdedExpr>| exprs.into_iter().map(rewrite).collect::<Vec<_>>();
    let new = match expr.expr {
        Expr::Call(mut call) => {
            call.args = all(call.args);
            call.target = call.target.map(|target| Box::new(rewrite(*target)));
            macros(id, call)
        }
        Expr::Select(mut select) => {
            select.operand = Box::new(rewrite(*select.operand));
            if !select.test && is_optional(&select.operand) {
                index(*select.operand, &select.field)
            } else {
                Expr::Select(select)
            }
        }
        Expr::Comprehension(mut loops) => {
            loops.iter_range = rewrite(loops.iter_range);
            loops.accu_init = rewrite(loops.accu_init);
            loops.loop_cond = rewrite(loops.loop_cond);
            loops.loop_step = rewrite(loops.loop_step);
            loops.result = rewrite(loops.result);
            Expr::Comprehension(loops)
        }
        Expr::List(list) => Expr::List(ListExpr {
            elements: all(list.elements),
            optional_indices: list.optional_indices,
        }),
        Expr::Map(mut map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    entry.key = rewrite(std::mem::take(&mut entry.key));
                    entry.value = rewrite(std::mem::take(&mut entry.value));
                }
            }
            Expr::Map(map)
        }
        other => other,
    };
    IdedExpr { id, expr: new }
}

fn macros(id: u64, mut call: CallExpr) -> Expr {
    let field = match call.args.get(1).map(|arg| &arg.expr) {
        Some(Expr::Literal(LiteralValue::String(field))) if call.func_name == operators::OPT_SELECT => {
            Some(field.inner().to_owned())
        }
        _ => None,
    };
    if let Some(field) = field
        && call.args.len() == 2
    {
        return index(call.args.swap_remove(0), &field);
    }
    let on_cel = call
        .target
        .as_ref()
        .is_some_and(|target| matches!(&target.expr, Expr::Ident(name) if name == "cel"));
    match (call.func_name.as_str(), call.args.as_slice(), &call.target) {
        (
            "bind",
            [
                IdedExpr {
                    expr: Expr::Ident(variable),
                    ..
                },
                init,
                body,
            ],
            _,
        ) if on_cel => bind(id, variable, init.clone(), body.clone()),
        (
            "optMap" | "optFlatMap",
            [
                IdedExpr {
                    expr: Expr::Ident(variable),
                    ..
                },
                body,
            ],
            Some(target),
        ) => {
            let held = method(id, "value", (**target).clone());
            let bound = IdedExpr {
                id,
                expr: bind(id, variable, held, body.clone()),
            };
            let some = if call.func_name == "optMap" {
                optional(id, "of", vec![bound])
            } else {
                bound
            };
            Expr::Call(CallExpr {
                func_name: operators::CONDITIONAL.to_owned(),
                target: None,
                args: vec![
                    method(id, "hasValue", (**target).clone()),
                    some,
                    optional(id, "none", Vec::new()),
                ],
            })
        }
        _ => Expr::Call(call),
    }
}

/// A loop over nothing whose accumulator is the variable: the result is the body.
fn bind(id: u64, variable: &str, init: IdedExpr, body: IdedExpr) -> Expr {
    let ided = |expr: Expr| IdedExpr { id, expr };
    Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: ided(Expr::List(ListExpr::new(Vec::new()))),
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: variable.to_owned(),
        accu_init: init,
        loop_cond: ided(Expr::Literal(LiteralValue::Boolean(false.into()))),
        loop_step: ided(Expr::Ident(variable.to_owned())),
        result: body,
    }))
}

fn method(id: u64, name: &str, target: IdedExpr) -> IdedExpr {
    let call = CallExpr {
        func_name: name.to_owned(),
        target: Some(Box::new(target)),
        args: Vec::new(),
    };
    IdedExpr {
        id,
        expr: Expr::Call(call),
    }
}

fn optional(id: u64, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    let target = IdedExpr {
        id,
        expr: Expr::Ident("optional".to_owned()),
    };
    IdedExpr {
        id,
        expr: Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target: Some(Box::new(target)),
            args,
        }),
    }
}

fn index(operand: IdedExpr, field: &str) -> Expr {
    let key = IdedExpr {
        id: operand.id,
        expr: Expr::Literal(LiteralValue::String(field.into())),
    };
    Expr::Call(CallExpr {
        func_name: operators::OPT_INDEX.to_owned(),
        target: None,
        args: vec![operand, key],
    })
}

/// Whether an expression gives an optional by its form.
fn is_optional(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Call(call) if call.func_name == operators::OPT_INDEX => true,
        Expr::Call(call) if call.func_name == operators::INDEX => call.args.first().is_some_and(is_optional),
        Expr::Select(select) => is_optional(&select.operand),
        _ => false,
    }
}
