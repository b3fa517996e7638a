//! Functions in the words of this API. Pure.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    form::Form,
    map,
    package::{Limits, Settings},
    spaced::spaced,
    wire::{self, time},
};
use crate::{
    crd::{Function, FunctionSpec},
    facade::refusal::Refusal,
    quantity,
};

/// What the API calls the function of a package where none is named.
const ENTRY: &str = "main.main";
const CPU: Range = Range {
    name: "cpu",
    default: 100,
    least: 100,
    most: 300,
    unit: "millicpu",
};
const MEMORY: Range = Range {
    name: "memory",
    default: 33_554_432,
    least: 33_554_432,
    most: 134_217_728,
    unit: "bytes",
};
const TIMEOUT: Range = Range {
    name: "timeout",
    default: 5,
    least: 1,
    most: 300,
    unit: "seconds",
};
/// Time limit of Functions that name none.
const DEFAULT_TIMEOUT: i64 = 3600;

struct Range {
    name: &'static str,
    default: i64,
    least: i64,
    most: i64,
    unit: &'static str,
}

impl Range {
    fn read(&self, text: Option<&str>) -> Result<Option<i64>, Refusal> {
        let Some(text) = text else { return Ok(None) };
        let (name, least, most, unit) = (self.name, self.least, self.most, self.unit);
        match text.trim().parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            Ok(_) => Err(Refusal::Invalid(format!(
                "{name} resource limitation not within the allowable range: {least} ~ {most}({unit})."
            ))),
            Err(_) => Err(Refusal::Invalid(format!(
                "Invalid {name} resource specified. An integer is required."
            ))),
        }
    }
}

/// Where the code of a new function comes from.
#[derive(Debug, PartialEq, Eq)]
pub enum Code {
    /// A package, with the digest that the client says it has.
    Package(Option<String>),
    /// An image.
    Image(String),
}

impl Code {
    /// Reads the JSON text of a form.
    ///
    /// # Errors
    /// It is none of the sources that there are here.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let refused = |why: &str| Err(Refusal::Invalid(why.to_owned()));
        let Ok(code) = serde_json::from_str::<Value>(text) else {
            return refused("Request is not in valid JSON format");
        };
        match code["source"].as_str() {
            Some("package") => Ok(Self::Package(code["md5sum"].as_str().map(str::to_owned))),
            Some("swift") => refused("Swift object not supported."),
            Some("image") => match code["image"].as_str().filter(|image| !image.is_empty()) {
                Some(image) => Ok(Self::Image(image.to_owned())),
                None => refused("Docker image is not specified."),
            },
            _ => refused("Invalid code source specified, available sources: package, image"),
        }
    }
}

/// What a form says of name and limits; what it leaves out is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Name for people.
    pub name: Option<String>,
    /// Text for people.
    pub description: Option<String>,
    /// Module and method.
    pub entry: Option<String>,
    cpu: Option<i64>,
    memory: Option<i64>,
    timeout: Option<i64>,
}

impl Words {
    /// Reads them.
    ///
    /// # Errors
    /// A limit is no number or out of range, or a text is too long.
    pub fn read(form: &Form) -> Result<Self, Refusal> {
        let short = |name: &str, most: usize| match form.text(name) {
            Some(text) if text.chars().count() > most => Err(Refusal::Invalid(format!(
                "{name} may have at most {most} characters"
            ))),
            text => Ok(text.map(str::to_owned)),
        };
        let entry = short("entry", 1024)?;
        if entry.as_ref().is_some_and(|entry| !entry.contains('.')) {
            return Err(Refusal::Invalid(
                "entry names a module and a method, such as main.main".into(),
            ));
        }
        Ok(Self {
            name: short("name", 256)?,
            description: short("description", 4096)?,
            entry,
            cpu: CPU.read(form.text("cpu"))?,
            memory: MEMORY.read(form.text("memory_size"))?,
            timeout: TIMEOUT.read(form.text("timeout"))?,
        })
    }

    /// The limits of a new function.
    pub fn limits(&self) -> Limits {
        Limits {
            cpu: self.cpu.unwrap_or(CPU.default),
            memory: self.memory.unwrap_or(MEMORY.default),
            timeout: self.timeout.unwrap_or(TIMEOUT.default),
        }
    }

    /// The entry of a new function.
    pub fn entry(&self) -> String {
        self.entry.clone().unwrap_or_else(|| ENTRY.to_owned())
    }

    /// True where more than name, description and time limit is to be changed.
    pub fn changes_code(&self) -> bool {
        self.entry.is_some() || self.cpu.is_some() || self.memory.is_some()
    }

    /// Changes what is said.
    pub fn apply(&self, spec: &mut FunctionSpec) {
        if self.name.is_some() {
            spec.display_name.clone_from(&self.name);
        }
        if self.description.is_some() {
            spec.description.clone_from(&self.description);
        }
        let known = limits(spec);
        let limits = Limits {
            cpu: self.cpu.or(known.0).unwrap_or(CPU.default),
            memory: self.memory.or(known.1).unwrap_or(MEMORY.default),
            timeout: self.timeout.unwrap_or(known.2),
        };
        if self.cpu.is_some() || self.memory.is_some() {
            limits.apply(spec);
        } else if let Some(seconds) = self.timeout {
            spec.timeout = Some(crate::crd::Duration::from_secs(seconds.unsigned_abs()));
        }
    }
}

/// Thousandths of a processor, bytes and seconds of a spec.
fn limits(spec: &FunctionSpec) -> (Option<i64>, Option<i64>, i64) {
    let needs = spec.capabilities.as_ref();
    let cpu = needs.and_then(|needs| needs.cpu.as_ref());
    let memory = needs.and_then(|needs| needs.memory.as_ref());
    let seconds = spec.timeout.map(|limit| limit.get().as_secs_f64().ceil());
    (
        cpu.and_then(|cpu| quantity::milli(&cpu.0).ok()),
        memory.and_then(|memory| quantity::units(&memory.0).ok()),
        // A time limit has at most 720 hours.
        seconds.map_or(DEFAULT_TIMEOUT, |seconds| seconds as i64),
    )
}

/// A function of which so many executions are kept, and its newest version.
pub fn shown(function: &Function, count: i64, latest_version: i64) -> wire::Function {
    let settings = Settings::of(function);
    let (cpu, memory_size, timeout) = limits(&function.spec);
    let code = match &settings {
        Some(settings) => json!({"source": "package", "md5sum": settings.stored.md5}),
        None => json!({"source": "image", "image": function.spec.container.image}),
    };
    wire::Function {
        id: map::id(function),
        name: Some(name(function)),
        description: function.spec.description.clone(),
        cpu,
        memory_size,
        timeout,
        runtime_id: settings.as_ref().map(|settings| settings.runtime.clone()),
        code,
        entry: settings.as_ref().map(|settings| settings.entry.clone()),
        count,
        latest_version,
        project_id: function.namespace().unwrap_or_default(),
        created_at: function.creation_timestamp().map(|made| time(made.0)),
        updated_at: settings.and_then(|settings| settings.updated).map(time),
    }
}

/// The same in a list, where the code is JSON text.
pub fn listed(function: &Function, count: i64, latest_version: i64) -> wire::Function {
    let mut shown = shown(function, count, latest_version);
    shown.code = spaced(&shown.code).into();
    shown
}

/// What people call a function: what it is shown as, else its name in the cluster.
fn name(function: &Function) -> String {
    let shown = function.spec.display_name.clone();
    shown.unwrap_or_else(|| function.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        Form {
            fields: fields
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
            package: None,
        }
    }

    #[test]
    fn limits_have_the_defaults_and_the_ranges_of_the_api() {
        let words = Words::read(&form(&[])).unwrap();
        assert_eq!(
            words.limits(),
            Limits {
                cpu: 100,
                memory: 33_554_432,
                timeout: 5
            }
        );
        assert_eq!(words.entry(), "main.main");
        for (field, text, sentence) in [
            (
                "cpu",
                "99",
                "cpu resource limitation not within the allowable range: 100 ~ 300(millicpu).",
            ),
            (
                "memory_size",
                "1",
                "memory resource limitation not within the allowable range: 33554432 ~ 134217728(bytes).",
            ),
            (
                "timeout",
                "301",
                "timeout resource limitation not within the allowable range: 1 ~ 300(seconds).",
            ),
            (
                "timeout",
                "soon",
                "Invalid timeout resource specified. An integer is required.",
            ),
            (
                "entry",
                "main",
                "entry names a module and a method, such as main.main",
            ),
        ] {
            let refused = Words::read(&form(&[(field, text)])).unwrap_err();
            assert_eq!(refused.to_string(), sentence);
        }
    }

    #[test]
    fn code_is_a_package_or_an_image() {
        let package = |md5: Option<&str>| Ok(Code::Package(md5.map(str::to_owned)));
        assert_eq!(Code::read(r#"{"source": "package"}"#), package(None));
        assert_eq!(
            Code::read(r#"{"source": "package", "md5sum": "d4"}"#),
            package(Some("d4"))
        );
        assert_eq!(
            Code::read(r#"{"source": "image", "image": "x/y"}"#),
            Ok(Code::Image("x/y".into()))
        );
        for (text, sentence) in [
            ("{", "Request is not in valid JSON format"),
            (
                r#"{"source": "swift", "swift": {"container": "c", "object": "o"}}"#,
                "Swift object not supported.",
            ),
            (r#"{"source": "image"}"#, "Docker image is not specified."),
            (
                r#"{"source": "x"}"#,
                "Invalid code source specified, available sources: package, image",
            ),
            (
                "[]",
                "Invalid code source specified, available sources: package, image",
            ),
        ] {
            assert_eq!(Code::read(text).unwrap_err().to_string(), sentence, "{text}");
        }
    }

    #[test]
    fn a_function_of_another_door_is_an_image() {
        let function: Function = serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Function",
            "metadata": {"name": "hello", "namespace": "n", "uid": "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f", "creationTimestamp": "2026-11-21T16:40:28Z"},
            "spec": {"container": {"image": "x/y"}, "capabilities": {"cpu": "2", "memory": "1Mi"}, "timeout": "1500ms"},
        }))
        .unwrap();
        let text = serde_json::to_string(&listed(&function, 3, 0)).unwrap();
        let expected = concat!(
            r#"{"id":"0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f","name":"hello","description":null,"cpu":2000,"memory_size":1048576,"timeout":2,"runtime_id":null,"#,
            r#""code":"{\"source\": \"image\", \"image\": \"x/y\"}","entry":null,"count":3,"latest_version":0,"#,
            r#""project_id":"n","created_at":"2026-11-21T16:40:28Z","updated_at":null}"#
        );
        assert_eq!(text, expected);
    }
}
