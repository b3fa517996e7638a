//! CEL rules (`x-kubernetes-validations`): compiled once, run within a budget.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use kube_cel::{
    KubeCelExt,
    cel::{
        Context, ExecutionError, FunctionContext, IdedExpr, Value as Cel, extractors::This, functions,
        parser::Parser,
    },
};
use serde_json::Value;

use super::{
    FieldError, Kind, MAX_REPORTED, Node,
    cel_cost::{BUDGET, Size, estimate},
    cel_value::{optional, typed},
    lists::{self, Former},
    shape::{push_field, push_index},
};

mod fields;
mod patterns;
mod rewrite;

/// Longest rule or message expression, in bytes. The parser recurses once per operator.
const MAX_RULE: usize = 16 << 10;
/// Deepest expression. Evaluation recurses, over 20 KiB of stack per level without optimisation.
const MAX_EXPR_DEPTH: usize = 50;
/// Stack of the thread that parses rules: room for an expression as deep as [`MAX_RULE`] allows.
const PARSER_STACK: usize = 256 << 20;
/// Longest message that a messageExpression may give, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// One compiled rule.
#[derive(Debug)]
pub(in crate::local::api::schema) struct Rule {
    text: String,
    expr: IdedExpr,
    message: Option<String>,
    message_expr: Option<IdedExpr>,
    reason: Option<Reason>,
    /// Path below the node, ready to be appended.
    field_path: Option<String>,
    optional_old_self: bool,
    uses_old_self: bool,
}

impl Rule {
    /// The rule as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it compares with the former value.
    pub fn uses_old_self(&self) -> bool {
        self.uses_old_self
    }
}

#[derive(Debug, Clone, Copy)]
enum Reason {
    Required,
    Forbidden,
    Invalid,
    Duplicate,
}

/// Compile the rules of one node, whose children are compiled already. `path` is that of the list.
pub(super) fn compile_all(path: &str, rules: &[Value], node: &Node) -> Vec<Result<Rule, FieldError>> {
    // The parser recurses per operator and has no limit of its own for all of them; on a stack of
    // its own the deepest accepted text cannot overflow the caller's.
    let compiled = thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || {
                rules
                    .iter()
                    .enumerate()
                    .map(|(i, rule)| compile(&format!("{path}[{i}]"), rule, node))
                    .collect()
            })
            .map(thread::ScopedJoinHandle::join)
    });
    match compiled {
        Ok(Ok(compiled)) => compiled,
        Ok(Err(_)) => vec![Err(FieldError::internal(path, "the rule parser failed"))],
        Err(error) => vec![Err(FieldError::internal(
            path,
            &format!("cannot start the rule parser: {error}"),
        ))],
    }
}

fn compile(path: &str, rule: &Value, node: &Node) -> Result<Rule, FieldError> {
    let text = |name: &str| {
        rule.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let source = text("rule").map(str::trim).unwrap_or_default();
    if source.is_empty() {
        return Err(FieldError::required(
            &format!("{path}.rule"),
            "rule is not specified",
        ));
    }
    let expr = parse(&format!("{path}.rule"), source)?;
    let uses_old_self = fields::mentions(&expr, "oldSelf");
    let optional_old_self = rule.get("optionalOldSelf").and_then(Value::as_bool);
    if let Some(set) = optional_old_self.filter(|_| !uses_old_self) {
        let detail = "may not be set if oldSelf is not used in rule";
        return Err(FieldError::invalid(
            &format!("{path}.optionalOldSelf"),
            &Value::Bool(set),
            detail,
        ));
    }
    if let Err(problem) = fields::check(&expr, node) {
        let detail = format!("compilation failed: ERROR: <input>: {problem}");
        return Err(FieldError::invalid(
            &format!("{path}.rule"),
            &Value::from(source),
            &detail,
        ));
    }
    let message = text("message").map(str::trim).map(str::to_owned);
    if let Some(message) = message.as_ref().filter(|message| message.contains(['\n', '\r'])) {
        let detail = "message must not contain line breaks";
        return Err(FieldError::invalid(
            &format!("{path}.message"),
            &Value::from(message.as_str()),
            detail,
        ));
    }
    let message_expr = match text("messageExpression") {
        Some(source) => Some(parse(&format!("{path}.messageExpression"), source)?),
        None => None,
    };
    let reason = match text("reason") {
        None => None,
        Some("FieldValueRequired") => Some(Reason::Required),
        Some("FieldValueForbidden") => Some(Reason::Forbidden),
        Some("FieldValueInvalid") => Some(Reason::Invalid),
        Some("FieldValueDuplicate") => Some(Reason::Duplicate),
        Some(other) => {
            let supported = [
                "FieldValueRequired",
                "FieldValueInvalid",
                "FieldValueForbidden",
                "FieldValueDuplicate",
            ];
            let field = format!("{path}.reason");
            return Err(FieldError::not_supported(
                &field,
                &Value::from(other),
                &supported.map(str::to_owned),
            ));
        }
    };
    Ok(Rule {
        text: source.to_owned(),
        expr,
        message,
        message_expr,
        reason,
        field_path: text("fieldPath").map(normal_path),
        optional_old_self: optional_old_self == Some(true),
        uses_old_self,
    })
}

fn parse(path: &str, source: &str) -> Result<IdedExpr, FieldError> {
    let refuse = |detail: String| FieldError::invalid(path, &Value::from(source), &detail);
    if source.len() > MAX_RULE {
        return Err(FieldError::too_long(path, MAX_RULE as u64));
    }
    let parsed = Parser::new().enable_optional_syntax(true).parse(source);
    let expr = parsed.map_err(|error| refuse(format!("compilation failed: {error}")))?;
    if fields::depth(&expr) > MAX_EXPR_DEPTH {
        return Err(refuse(format!(
            "must not be nested deeper than {MAX_EXPR_DEPTH} levels"
        )));
    }
    Ok(rewrite::rewrite(expr))
}

/// `.a['b.c']` as it stands in error paths: `.a[b.c]`.
fn normal_path(path: &str) -> String {
    let path = path.replace("['", "[").replace("']", "]");
    if path.starts_with(['.', '[']) {
        path
    } else {
        format!(".{path}")
    }
}

thread_local! {
    /// The functions of Kubernetes' CEL; registering them costs more than most rules.
    static FUNCTIONS: Context<'static> = known_functions();
}

fn known_functions() -> Context<'static> {
    let mut known = Context::default().with_all();
    known.add_function("size", size);
    known.add_function("matches", patterns::matches);
    known
}

/// The interpreter counts the bytes of a string; CEL counts its code points (language definition, "size").
fn size(ftx: &FunctionContext, This(this): This<Cel>) -> Result<i64, ExecutionError> {
    match this {
        Cel::String(text) => Ok(i64::try_from(text.chars().count()).unwrap_or(i64::MAX)),
        other => functions::size(ftx, This(other)),
    }
}

/// Run all rules of an object whose structure is valid.
pub(super) fn run(root: &Node, new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    FUNCTIONS.with(|functions| {
        let mut run = Run {
            functions,
            path: String::new(),
            left: BUDGET,
            halted: false,
            errors,
        };
        run.node(root, new, old);
    });
}

struct Run<'a> {
    functions: &'a Context<'static>,
    path: String,
    /// What is left of the budget.
    left: u64,
    halted: bool,
    errors: &'a mut Vec<FieldError>,
}

impl Run<'_> {
    fn node(&mut self, node: &Node, new: &Value, old: Option<&Value>) {
        if !node.any_rules || self.halted || new.is_null() || self.errors.len() >= MAX_REPORTED {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        if !node.rules.is_empty() {
            self.rules(node, new, old);
        }
        let length = self.path.len();
        match new {
            Value::Object(map) => {
                for (field, value) in map {
                    let Some(child) = node.child(field) else { continue };
                    push_field(&mut self.path, field);
                    self.node(child, value, old.and_then(|old| old.get(field)));
                    self.path.truncate(length);
                }
            }
            Value::Array(items) => {
                let Some(child) = &node.items else { return };
                let former = Former::new(node, old);
                for (i, value) in items.iter().enumerate() {
                    push_index(&mut self.path, i);
                    self.node(child, value, former.of(node, value));
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    /// Take from the budget; false when it is used up.
    fn spend(&mut self, cost: u64) -> bool {
        if cost <= self.left {
            self.left -= cost;
            return true;
        }
        self.halted = true;
        self.errors
            .push(FieldError::invalid(&self.path, &Value::from(""), OUT_OF_BUDGET));
        false
    }

    fn rules(&mut self, node: &Node, new: &Value, old: Option<&Value>) {
        let mut size = Size::of(new);
        if let Some(old) = old {
            size.add(old);
        }
        if !self.spend(size.total) {
            return;
        }
        let unchanged = old.is_some_and(|old| lists::same(old, new));
        let mut scope = self.functions.new_inner_scope();
        scope.add_variable_from_value("self", typed(node, new));
        for rule in &node.rules {
            // ratcheting: what was stored like this is not complained about again
            if unchanged && !rule.uses_old_self {
                continue;
            }
            if !rule.uses_old_self {
                self.rule(rule, node, &scope, size);
                continue;
            }
            let former = old.map(|old| typed(node, old));
            let former = match (former, rule.optional_old_self) {
                (former, true) => optional(former),
                (Some(former), false) => former,
                (None, false) => continue,
            };
            let mut scope = scope.new_inner_scope();
            scope.add_variable_from_value("oldSelf", former);
            self.rule(rule, node, &scope, size);
        }
    }

    fn rule(&mut self, rule: &Rule, node: &Node, scope: &Context<'_>, size: Size) {
        if self.halted || !self.spend(estimate(&rule.expr, size, 1)) {
            return;
        }
        match resolve(&rule.expr, scope) {
            Ok(Cel::Bool(true)) => {}
            Ok(Cel::Bool(false)) => {
                let message = self.message(rule, scope, size);
                self.refuse(rule, node, &message);
            }
            Ok(_) => self.refuse(
                rule,
                node,
                "cel expression evaluated to a value that is not a bool",
            ),
            Err(problem) => {
                let message = format!("{problem} evaluating rule: {}", said(rule));
                self.refuse(rule, node, &message);
            }
        }
    }

    fn message(&mut self, rule: &Rule, scope: &Context<'_>, size: Size) -> String {
        if let Some(expr) = &rule.message_expr
            && self.left >= estimate(expr, size, 1)
            && let Ok(Cel::String(text)) = resolve(expr, scope)
            && !text.trim().is_empty()
            && text.len() <= MAX_MESSAGE
            && !text.contains(['\n', '\r'])
        {
            return text.trim().to_owned();
        }
        said(rule)
    }

    fn refuse(&mut self, rule: &Rule, node: &Node, message: &str) {
        let path = match &rule.field_path {
            Some(below) => format!("{}{below}", self.path).trim_start_matches('.').to_owned(),
            None => self.path.clone(),
        };
        // the real server names the type instead of the value
        let value = Value::from(node.kind.map_or("", Kind::name));
        self.errors.push(match rule.reason {
            None | Some(Reason::Invalid) => FieldError::invalid(&path, &value, message),
            Some(Reason::Required) => FieldError::required(&path, message),
            Some(Reason::Forbidden) => FieldError::forbidden(&path, message),
            Some(Reason::Duplicate) => FieldError::duplicate(&path, &value),
        });
    }
}

fn said(rule: &Rule) -> String {
    rule.message
        .clone()
        .unwrap_or_else(|| format!("failed rule: {}", rule.text))
}

/// Evaluate; a failure comes back as words.
fn resolve(expr: &IdedExpr, scope: &Context<'_>) -> Result<Cel, String> {
    // the interpreter has a few unreachable-looking panics; a rule must not take the server down
    match catch_unwind(AssertUnwindSafe(|| Cel::resolve(expr, scope))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ExecutionError::NoSuchKey(key))) => Err(format!("no such key: {key}")),
        Ok(Err(ExecutionError::UndeclaredReference(name))) => {
            Err(format!("undeclared reference to '{name}' (in container '')"))
        }
        Ok(Err(error)) => Err(error.to_string().chars().take(256).collect()),
        Err(_) => Err("internal error".to_owned()),
    }
}
