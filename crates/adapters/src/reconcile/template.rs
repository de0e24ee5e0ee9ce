//! The template that makes the id of a stream from its name.

use std::fmt;
use std::str::FromStr;

use crate::model::Name;

const PLACEHOLDERS: &str = "{node} {server} {vhost} {app} {name} {path}";

/// How the id of a stream is made from the stream's name.
///
/// The placeholders are `{node}`, `{server}`, `{vhost}`, `{app}`, `{name}` and `{path}`. `{path}` is the virtual host,
/// the application and the name with slashes between them. Empty parts leave no slashes behind. The default is
/// `{node}/{path}`, which equals `{node}/{app}/{name}` for a server without virtual hosts.
///
/// ```
/// use adapters::model::Name;
/// use adapters::reconcile::IdTemplate;
///
/// let template: IdTemplate = "{node}/{app}/{name}".parse()?;
/// assert_eq!(template.expand("edge1", "srs", &Name::from_path("live/cam1")), "edge1/live/cam1");
/// assert_eq!(template.expand("edge1", "srs", &Name::from_path("cam1")), "edge1/cam1");
/// # Ok::<(), adapters::reconcile::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Node,
    Server,
    Vhost,
    App,
    Name,
    Path,
}

impl IdTemplate {
    /// Returns whether the ids contain the node, so that two nodes never have the same id.
    pub fn contains_node(&self) -> bool {
        self.0.contains(&Part::Node)
    }

    /// Returns whether the ids contain the name of the server.
    pub fn contains_server(&self) -> bool {
        self.0.contains(&Part::Server)
    }

    /// Returns the id of a stream. The id may still be illegal, e.g. if the name contains a control character.
    pub fn expand(&self, node: &str, server: &str, name: &Name) -> String {
        let mut expanded = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => expanded.push_str(literal),
                Part::Node => expanded.push_str(node),
                Part::Server => expanded.push_str(server),
                Part::Vhost => expanded.push_str(&name.vhost),
                Part::App => expanded.push_str(&name.app),
                Part::Name => expanded.push_str(&name.name),
                Part::Path => expanded.push_str(&name.to_string()),
            }
        }
        let segments: Vec<&str> = expanded.split('/').filter(|segment| !segment.is_empty()).collect();
        segments.join("/")
    }
}

impl Default for IdTemplate {
    fn default() -> Self {
        Self(vec![Part::Node, Part::Literal("/".to_owned()), Part::Path])
    }
}

impl FromStr for IdTemplate {
    type Err = TemplateError;

    fn from_str(template: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            let (literal, placeholder) = rest.split_at(at);
            parts.push(Part::Literal(literal.to_owned()));
            let end = placeholder.find('}').ok_or_else(|| TemplateError::new("a brace is not closed"))?;
            parts.push(match &placeholder[..=end] {
                "{node}" => Part::Node,
                "{server}" => Part::Server,
                "{vhost}" => Part::Vhost,
                "{app}" => Part::App,
                "{name}" => Part::Name,
                "{path}" => Part::Path,
                unknown => return Err(TemplateError::new(format!("unknown placeholder {unknown}"))),
            });
            rest = &placeholder[end + 1..];
        }
        parts.push(Part::Literal(rest.to_owned()));
        if !parts.iter().any(|part| matches!(part, Part::Name | Part::Path)) {
            return Err(TemplateError::new("the id template has neither {name} nor {path}"));
        }
        Ok(Self(parts))
    }
}

/// An id template is invalid. The message lists the placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError(String);

impl TemplateError {
    fn new(fault: impl fmt::Display) -> Self {
        Self(format!("{fault}; the placeholders are {PLACEHOLDERS}"))
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str, vhost: &str, app: &str, name: &str) -> String {
        let name = Name { vhost: vhost.into(), app: app.into(), name: name.into() };
        template.parse::<IdTemplate>().unwrap().expand("edge1", "srs", &name)
    }

    #[test]
    fn template_leaves_no_slash_for_an_empty_part() {
        for (template, expected) in [
            ("{node}/{vhost}/{app}/{name}", "edge1/cam1"),
            ("{vhost}/{app}/{name}/", "cam1"),
            ("/{node}//{path}", "edge1/cam1"),
            ("{server}:{name}", "srs:cam1"),
        ] {
            assert_eq!(expand(template, "", "", "cam1"), expected, "{template}");
        }
    }

    #[test]
    fn default_template_contains_the_virtual_host() {
        let name = Name { vhost: "tv.example".into(), app: "live".into(), name: "cam1".into() };
        assert_eq!(IdTemplate::default().expand("edge1", "srs", &name), "edge1/tv.example/live/cam1");
        assert_eq!(
            "{node}/{path}".parse::<IdTemplate>().unwrap().expand("edge1", "srs", &name),
            "edge1/tv.example/live/cam1"
        );
    }

    #[test]
    fn invalid_template_is_rejected_with_the_list_of_placeholders() {
        for (template, fault) in [
            ("{node}/{stream}", "unknown placeholder {stream}"),
            ("{node}/{Name}", "unknown placeholder {Name}"),
            ("{node}", "the id template has neither {name} nor {path}"),
            ("", "the id template has neither {name} nor {path}"),
            ("{name", "a brace is not closed"),
            ("{name}}", "unknown placeholder }"),
            ("{{name}}", "unknown placeholder {{name}"),
        ] {
            let error = template.parse::<IdTemplate>().unwrap_err().to_string();
            assert_eq!(
                error,
                format!("{fault}; the placeholders are {{node}} {{server}} {{vhost}} {{app}} {{name}} {{path}}")
            );
        }
    }
}
