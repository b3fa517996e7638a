//! What can be told about a rule without running it: unknown names and fields, depth.
//!
//! The real server type-checks rules against the schema; this finds the mistakes that people make,
//! names and fields that do not exist, and leaves the rest to evaluation.

use kube_cel::cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr, LiteralValue, operators},
};

use super::super::{Kind, Node, cel_value::escape};

/// Names that are not variables: type names, and prefixes of functions such as `sets.contains`.
const NAMES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "optional",
    "cel",
    "math",
    "sets",
    "base64",
    "strings",
    "ip",
    "cidr",
    "format",
    "jsonpatch",
    "google",
    "optional_type",
    "net",
    "url",
    "quantity",
    "semver",
];

/// Whether an expression mentions a variable.
pub(super) fn mentions(expr: &IdedExpr, variable: &str) -> bool {
    matches!(&expr.expr, Expr::Ident(name) if name == variable)
        || children(expr).into_iter().any(|child| mentions(child, variable))
}

/// Levels of an expression.
pub(super) fn depth(expr: &IdedExpr) -> usize {
    1 + children(expr).into_iter().map(depth).max().unwrap_or_default()
}

fn children(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .flat_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                EntryExpr::StructField(field) => vec![&field.value],
            })
            .collect(),
        Expr::Comprehension(loops) => {
            vec![
                &loops.iter_range,
                &loops.accu_init,
                &loops.loop_cond,
                &loops.loop_step,
                &loops.result,
            ]
        }
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

/// Look for variables and fields that do not exist. `root` is the node that the rule belongs to.
pub(super) fn check(expr: &IdedExpr, root: &Node) -> Result<(), String> {
    infer(
        expr,
        &mut vec![
            ("self".to_owned(), Some(root)),
            ("oldSelf".to_owned(), Some(root)),
        ],
        root,
    )
    .map(drop)
}

type Scope<'a> = Vec<(String, Option<&'a Node>)>;

/// The node that describes the value of an expression, where that can be told.
fn infer<'a>(expr: &IdedExpr, scope: &mut Scope<'a>, root: &'a Node) -> Result<Option<&'a Node>, String> {
    match &expr.expr {
        Expr::Ident(name) => match scope.iter().rev().find(|(known, _)| known == name) {
            Some((_, node)) => Ok(*node),
            None if NAMES.contains(&name.as_str()) => Ok(None),
            None => Err(format!("undeclared reference to '{name}' (in container '')")),
        },
        Expr::Select(select) => {
            // functions with a dotted name parse as selections from a name
            let of = infer(&select.operand, scope, root)?;
            if is_metadata(&select.operand, root) && !matches!(select.field.as_str(), "name" | "generateName")
            {
                return Err(format!("undefined field '{}'", select.field));
            }
            of.map_or(Ok(None), |node| field(node, &select.field))
        }
        Expr::Call(call) => {
            let target = call
                .target
                .as_deref()
                .map(|target| infer(target, scope, root))
                .transpose()?
                .flatten();
            let mut first = None;
            for (i, arg) in call.args.iter().enumerate() {
                let node = infer(arg, scope, root)?;
                if i == 0 {
                    first = node;
                }
            }
            match call.func_name.as_str() {
                "value" | "or" | "orValue" => Ok(target),
                operators::INDEX | operators::OPT_INDEX => indexed(first, call.args.get(1)),
                _ => Ok(None),
            }
        }
        Expr::Comprehension(loops) => {
            let range = infer(&loops.iter_range, scope, root)?;
            let init = infer(&loops.accu_init, scope, root)?;
            let member = range.and_then(|range| range.items.as_deref());
            let depth = scope.len();
            let is_bind = matches!(&loops.iter_range.expr, Expr::List(list) if list.elements.is_empty());
            scope.push((loops.accu_var.clone(), if is_bind { init } else { None }));
            let result = infer(&loops.result, scope, root);
            scope.push((loops.iter_var.clone(), member));
            if let Some(second) = &loops.iter_var2 {
                scope.push((second.clone(), None));
            }
            let inside =
                infer(&loops.loop_cond, scope, root).and_then(|_| infer(&loops.loop_step, scope, root));
            scope.truncate(depth);
            inside?;
            result.map(|_| None)
        }
        _ => {
            for child in children(expr) {
                infer(child, scope, root)?;
            }
            Ok(None)
        }
    }
}

fn field<'a>(node: &'a Node, name: &str) -> Result<Option<&'a Node>, String> {
    match node.kind {
        Some(Kind::Object) => {}
        Some(kind) => return Err(format!("type '{}' does not support field selection", kind.name())),
        None => return Ok(None),
    }
    if let Some(additional) = &node.additional {
        return Ok(Some(additional));
    }
    match node.properties.iter().find(|(known, _)| escape(known) == name) {
        Some((_, child)) => Ok(Some(child)),
        None if node.preserve && node.properties.is_empty() => Ok(None),
        None => Err(format!("undefined field '{name}'")),
    }
}

fn indexed<'a>(of: Option<&'a Node>, key: Option<&IdedExpr>) -> Result<Option<&'a Node>, String> {
    let Some(node) = of else { return Ok(None) };
    if let Some(child) = node.items.as_ref().or(node.additional.as_ref()) {
        return Ok(Some(child));
    }
    match key.map(|key| &key.expr) {
        Some(Expr::Literal(LiteralValue::String(name))) => field(node, name.inner()),
        _ => Ok(None),
    }
}

/// Whether this is `self.metadata` of a whole object, of which rules see only the name.
fn is_metadata(expr: &IdedExpr, root: &Node) -> bool {
    let whole = ["apiVersion", "kind", "metadata"]
        .iter()
        .all(|field| root.properties.contains_key(*field));
    match &expr.expr {
        Expr::Select(select) if select.field == "metadata" && whole => {
            matches!(&select.operand.expr, Expr::Ident(name) if name == "self" || name == "oldSelf")
        }
        _ => false,
    }
}
