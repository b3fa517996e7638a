use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::crd::Action;

fn run(path: &str) -> Value {
    json!({"run": {"path": path}})
}

fn machine(tree: Value) -> (Machine, Vec<Order>) {
    let Value::Object(tree) = tree else {
        panic!("a tree is an object")
    };
    Machine::new(Tree::new(Action::read(&tree).unwrap(), None))
}

/// A tree under way, with its works by their paths.
struct Story {
    machine: Machine,
    orders: Vec<Order>,
}

impl Story {
    fn of(tree: Value) -> Self {
        let (machine, orders) = machine(tree);
        Self { machine, orders }
    }

    fn id(&self, path: &str) -> Id {
        let is = |kind: &Kind| matches!(kind, Kind::Work(crate::runner::actions::tree::Work::Run(run)) if run.path == path);
        self.machine
            .tree
            .nodes
            .iter()
            .position(|node| is(&node.kind))
            .unwrap()
    }

    fn name(&self, id: Id) -> String {
        match &self.machine.tree.nodes[id].kind {
            Kind::Work(crate::runner::actions::tree::Work::Run(run)) => run.path.clone(),
            other => format!("{other:?}").split(['(', '{']).next().unwrap().to_owned(),
        }
    }

    /// What was ordered since the last call, in words.
    fn ordered(&mut self) -> Vec<String> {
        let orders = std::mem::take(&mut self.orders);
        let words = |order: &Order| match order {
            Order::Start(id) => format!("start {}", self.name(*id)),
            Order::Interrupt(id) => format!("interrupt {}", self.name(*id)),
            Order::Arm(_, after) => format!("arm {after:?}"),
            Order::Disarm(_) => "disarm".to_owned(),
            Order::Say(_, which, line) => format!("say {which:?} {line}"),
        };
        orders.iter().map(words).collect()
    }

    fn ends(&mut self, path: &str, outcome: Outcome) -> &mut Self {
        let orders = self.machine.step(Event::Ended(self.id(path), outcome));
        self.orders.extend(orders);
        self
    }

    fn fails(&mut self, path: &str, code: i32) -> &mut Self {
        self.ends(path, Err(Failure::exited("LOG", code, false)))
    }

    fn stops(&mut self, path: &str) -> &mut Self {
        self.ends(path, Err(Failure::cancelled()))
    }

    /// The time of the only timeout is up.
    fn due(&mut self) -> &mut Self {
        let is = |kind: &Kind| matches!(kind, Kind::Timeout(..));
        let id = self
            .machine
            .tree
            .nodes
            .iter()
            .position(|node| is(&node.kind))
            .unwrap();
        let orders = self.machine.step(Event::Due(id));
        self.orders.extend(orders);
        self
    }

    fn cancel(&mut self) -> &mut Self {
        let orders = self.machine.step(Event::Cancel);
        self.orders.extend(orders);
        self
    }

    /// The text of the failure; empty for success.
    fn came_to(&self) -> String {
        match self.machine.outcome() {
            None => "not over".to_owned(),
            Some(Ok(())) => String::new(),
            Some(Err(failure)) => failure.text.clone(),
        }
    }
}

#[test]
fn a_single_run_is_the_whole() {
    let mut story = Story::of(run("a"));
    assert_eq!(story.ordered(), ["start a"]);
    story.fails("a", 7);
    assert_eq!(story.came_to(), "LOG: Exited with status 7");
    assert_eq!(
        story.machine.outcome().unwrap().as_ref().unwrap_err().code,
        Some(7)
    );
}

#[test]
fn a_serial_goes_on_after_success_and_stops_at_its_first_failure() {
    let mut story = Story::of(json!({"serial": {"actions": [run("a"), run("b"), run("c")]}}));
    assert_eq!(story.ordered(), ["start a"]);
    assert_eq!(story.ends("a", Ok(())).ordered(), ["start b"]);
    assert_eq!(story.fails("b", 1).ordered(), [""; 0]);
    assert_eq!(story.came_to(), "LOG: Exited with status 1");
}

#[test]
fn a_serial_that_is_told_to_stop_begins_nothing_more() {
    let mut story = Story::of(json!({"serial": {"actions": [{"try": {"action": run("a")}}, run("b")]}}));
    story.ordered();
    assert_eq!(story.cancel().ordered(), ["interrupt a"]);
    assert_eq!(story.stops("a").ordered(), [""; 0]);
    assert_eq!(story.came_to(), "");
}

#[test]
fn a_parallel_waits_for_all_and_joins_failures_in_their_order() {
    let mut story = Story::of(json!({"parallel": {"actions": [run("a"), run("b"), run("c")]}}));
    assert_eq!(story.ordered(), ["start a", "start b", "start c"]);
    assert_eq!(story.fails("c", 3).ordered(), [""; 0]);
    story.ends("b", Ok(()));
    assert_eq!(story.came_to(), "not over");
    story.fails("a", 1);
    assert_eq!(
        story.came_to(),
        "LOG: Exited with status 1; LOG: Exited with status 3"
    );
}

#[test]
fn the_first_end_of_codependents_stops_the_others_and_is_a_failure() {
    let mut story = Story::of(json!({"codependent": {"actions": [run("a"), run("b"), run("c")]}}));
    story.ordered();
    assert_eq!(story.ends("b", Ok(())).ordered(), ["interrupt a", "interrupt c"]);
    story.stops("c").fails("a", 2);
    assert_eq!(
        story.came_to(),
        "Codependent step exited; LOG: Exited with status 2"
    );

    let mut story = Story::of(json!({"codependent": {"actions": [run("a"), run("b")]}}));
    story.fails("b", 2).stops("a");
    assert_eq!(story.came_to(), "LOG: Exited with status 2");
}

#[test]
fn a_timeout_stops_its_action_waits_for_it_and_adds_what_can_be_shown() {
    let tree = || json!({"timeout": {"after": "100ms", "action": run("a")}});
    let mut story = Story::of(tree());
    assert_eq!(story.ordered(), ["arm 100ms", "start a"]);
    assert_eq!(story.due().ordered(), ["interrupt a"]);
    assert_eq!(story.came_to(), "not over");
    assert_eq!(story.stops("a").ordered(), ["disarm"]);
    assert_eq!(story.came_to(), "exceeded 100ms timeout");

    let mut story = Story::of(tree());
    story.due().fails("a", 3);
    assert_eq!(
        story.came_to(),
        "exceeded 100ms timeout; LOG: Exited with status 3"
    );

    let mut story = Story::of(tree());
    story
        .due()
        .ends("a", Err(Failure::plain("Upload failed: Status code 404")));
    assert_eq!(story.came_to(), "exceeded 100ms timeout");

    let mut story = Story::of(tree());
    story.ends("a", Ok(()));
    assert_eq!(story.came_to(), "");
    assert_eq!(
        story.due().ordered(),
        ["arm 100ms", "start a", "disarm"],
        "it is over"
    );
}

#[test]
fn a_timeout_that_succeeds_in_stopping_is_still_exceeded() {
    let mut story =
        Story::of(json!({"timeout": {"after": "1m30s", "action": {"try": {"action": run("a")}}}}));
    story.due().stops("a");
    assert_eq!(story.came_to(), "exceeded 1m30s timeout");
}

#[test]
fn a_try_forgives_everything() {
    let mut story = Story::of(json!({"serial": {"actions": [{"try": {"action": run("a")}}, run("b")]}}));
    story.ordered();
    assert_eq!(story.fails("a", 1).ordered(), ["start b"]);
    story.ends("b", Ok(()));
    assert_eq!(story.came_to(), "");
}

#[test]
fn progress_is_told_before_and_after() {
    let tree = |inner| {
        json!({"emitProgress": {"action": inner, "startMessage": "staging", "successMessage": "staged",
            "failureMessagePrefix": "not staged"}})
    };
    let mut story = Story::of(tree(run("a")));
    assert_eq!(story.ordered(), ["say Stdout staging", "start a"]);
    assert_eq!(story.ends("a", Ok(())).ordered(), ["say Stdout staged"]);

    let mut story = Story::of(tree(run("a")));
    story.ordered();
    assert_eq!(
        story.fails("a", 4).ordered(),
        ["say Stderr not staged: LOG: Exited with status 4"]
    );
    assert_eq!(story.came_to(), "LOG: Exited with status 4");

    // Several failures as one are not shown.
    let mut story = Story::of(tree(json!({"parallel": {"actions": [run("a")]}})));
    story.ordered();
    assert_eq!(story.fails("a", 4).ordered(), ["say Stderr not staged"]);

    let mut story = Story::of(json!({"emitProgress": {"action": run("a")}}));
    assert_eq!(story.fails("a", 4).ordered(), ["start a"]);
}

#[test]
fn a_nested_tree_that_is_cancelled_midway_stops_what_runs() {
    let mut story = Story::of(json!({"serial": {"actions": [
        run("first"),
        {"parallel": {"actions": [
            {"timeout": {"after": "10s", "action": {"codependent": {"actions": [run("a"), run("b")]}}}},
            {"serial": {"actions": [run("c"), run("d")]}},
        ]}},
        run("last"),
    ]}}));
    story.ends("first", Ok(())).ordered();
    story.ends("c", Ok(())).ordered();
    let mut stopped = story.cancel().ordered();
    stopped.sort();
    assert_eq!(stopped, ["interrupt a", "interrupt b", "interrupt d"]);
    assert_eq!(story.cancel().ordered(), [""; 0], "once is enough");
    assert_eq!(story.due().ordered(), [""; 0], "it was told to stop already");
    story.stops("a").stops("b").fails("d", 143);
    assert_eq!(story.came_to(), "LOG: Exited with status 143");
}

#[test]
fn a_cancelled_run_is_cancelled() {
    let mut story = Story::of(run("a"));
    story.cancel().stops("a");
    assert_eq!(story.came_to(), "cancelled");
    let mut story = Story::of(run("a"));
    story.cancel().ends("a", Err(Failure::killed()));
    assert_eq!(story.came_to(), "exceeded graceful shutdown interval");
    let mut story = Story::of(run("a"));
    story.cancel().ends("a", Err(Failure::stuck()));
    assert_eq!(story.came_to(), "process did not exit");
}

#[test]
fn log_sources_are_handed_down_as_diego_does_it() {
    let sources = |tree: Value, outer: Option<&str>| -> Vec<Option<String>> {
        let Value::Object(tree) = tree else {
            panic!("a tree is an object")
        };
        let tree = Tree::new(Action::read(&tree).unwrap(), outer.map(str::to_owned));
        let works = tree
            .nodes
            .into_iter()
            .filter(|node| matches!(node.kind, Kind::Work(_)));
        works.map(|node| node.source).collect()
    };
    let named = |kind: &str| json!({kind: {"logSource": "S", "actions": [run("a"), {"run": {"path": "b", "logSource": "B"}}]}});
    let (s, b) = (Some("S".to_owned()), Some("B".to_owned()));
    assert_eq!(sources(named("parallel"), None), [s.clone(), b.clone()]);
    assert_eq!(sources(named("codependent"), None), [s.clone(), b.clone()]);
    assert_eq!(sources(named("serial"), None), [None, b.clone()]);
    assert_eq!(sources(named("serial"), Some("T")), [Some("T".to_owned()), b]);
    let wrapped = |kind: &str| json!({kind: {"logSource": "S", "after": "1s", "action": run("a")}});
    assert_eq!(sources(wrapped("timeout"), None), [s]);
    let emit = json!({"emitProgress": {"logSource": "S", "action": run("a")}});
    assert_eq!(sources(emit, None), [None]);
}

fn any_tree() -> impl Strategy<Value = Value> {
    run_leaf().prop_recursive(5, 40, 4, |inner| {
        let group = (
            proptest::sample::select(vec!["serial", "parallel", "codependent"]),
            proptest::collection::vec(inner.clone(), 1..4),
        )
            .prop_map(|(kind, actions)| json!({kind: {"actions": actions}}));
        prop_oneof![
            group,
            inner
                .clone()
                .prop_map(|inner| json!({"timeout": {"after": "1s", "action": inner}})),
            inner.clone().prop_map(|inner| json!({"try": {"action": inner}})),
            inner.prop_map(|inner| json!({"emitProgress": {"action": inner, "startMessage": "s"}})),
        ]
    })
}

fn run_leaf() -> impl Strategy<Value = Value> {
    Just(run("a"))
}

proptest! {
    /// Whatever happens in whatever order: each work starts at most once, only what runs is stopped, every time that is
    /// armed is disarmed or up, and the whole ends exactly when nothing runs any more.
    #[test]
    fn every_story_of_every_tree_ends(tree in any_tree(), turns in proptest::collection::vec((any::<u16>(), 0..10_u8), 0..200)) {
        let (mut machine, mut orders) = machine(tree);
        let mut running: Vec<Id> = Vec::new();
        let mut started: std::collections::HashSet<Id> = Default::default();
        let mut armed: Vec<Id> = Vec::new();
        let mut turns = turns.into_iter().chain(std::iter::repeat((0, 0)));
        loop {
            for order in std::mem::take(&mut orders) {
                match order {
                    Order::Start(id) => {
                        prop_assert!(started.insert(id), "{id} starts twice");
                        running.push(id);
                    }
                    Order::Interrupt(id) => prop_assert!(running.contains(&id), "{id} does not run"),
                    Order::Arm(id, _) => armed.push(id),
                    Order::Disarm(id) => armed.retain(|other| *other != id),
                    Order::Say(..) => {}
                }
            }
            prop_assert_eq!(machine.outcome().is_some(), running.is_empty());
            if running.is_empty() {
                break;
            }
            let (pick, what) = turns.next().unwrap();
            let pick = usize::from(pick);
            orders = match what {
                0..6 => {
                    let id = running.remove(pick % running.len());
                    let outcome = if what % 2 == 0 { Ok(()) } else { Err(Failure::exited("LOG", 1, false)) };
                    machine.step(Event::Ended(id, outcome))
                }
                6 => machine.step(Event::Cancel),
                7 if !armed.is_empty() => machine.step(Event::Due(armed[pick % armed.len()])),
                // What is not under way, or not there at all.
                8 => machine.step(Event::Due(pick)),
                _ if running.contains(&pick) => Vec::new(),
                _ => machine.step(Event::Ended(pick, Ok(()))),
            };
        }
        prop_assert_eq!(armed, Vec::<Id>::new());
    }
}
