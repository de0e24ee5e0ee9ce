//! The page `/docs`: the document, readable without a script.
//!
//! Each operation, schema and code of problems has an anchor: `#listStreams`, `#schema-Page`, `#problem-not_found`.

mod html;
mod schema;

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::Value;

use self::html::{block, code, escape, inline};
use self::schema::{describe, members};
use super::operations;
use crate::server::codes;

const HEAD: &str = include_str!("head.html");

/// Returns the page.
pub(in crate::server) fn page() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        // Serialising strings and numbers cannot fail.
        render(&serde_json::to_value(super::document()).unwrap_or_default())
    });
    &PAGE
}

/// Returns the members of an object; nothing for any other value.
fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// Returns the elements of an array; nothing for any other value.
fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns a string; an empty one for any other value.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn render(document: &Value) -> String {
    let mut out = HEAD.replace("VERSION", &escape(text(&document["info"]["version"])));
    let _ = write!(out, "{}", block(text(&document["info"]["description"])));
    contents(&mut out, document);
    for tag in elements(&document["tags"]) {
        let name = text(&tag["name"]);
        let _ = write!(out, "<section><h2>{}</h2>{}", escape(name), block(text(&tag["description"])));
        for (method, path, operation) in of_tag(document, name) {
            article(&mut out, &method, path, operation);
        }
        out.push_str("</section>");
    }
    problems(&mut out);
    out.push_str("<section><h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = write!(out, "<article id=\"schema-{0}\"><h3><a href=\"#schema-{0}\">{0}</a></h3>", escape(name));
        let _ = write!(out, "{}{}</article>", describe(schema), members(schema));
    }
    out.push_str("</section></main></body></html>\n");
    out
}

/// Returns the operations of a group with their methods and paths. Values of JSON do not keep the order of the document.
fn of_tag<'a>(document: &'a Value, tag: &'a str) -> impl Iterator<Item = (String, &'static str, &'a Value)> {
    let all = operations::all().into_iter().map(|(method, path, _)| {
        let method = method.as_str().to_lowercase();
        let operation = &document["paths"][path][&method];
        (method, path, operation)
    });
    all.filter(move |(.., operation)| operation["tags"][0] == tag)
}

/// Appends the title of an operation: its method and path.
fn title(out: &mut String, method: &str, path: &str) {
    let _ = write!(out, "<b class=\"{method}\">{}</b> <code>{}</code>", method.to_uppercase(), escape(path));
}

fn contents(out: &mut String, document: &Value) {
    out.push_str("<nav aria-label=\"Operations\">");
    for tag in elements(&document["tags"]) {
        let name = text(&tag["name"]);
        let _ = write!(out, "<p>{}</p><ul>", escape(name));
        for (method, path, operation) in of_tag(document, name) {
            let _ = write!(out, "<li><a href=\"#{}\">", escape(text(&operation["operationId"])));
            title(out, &method, path);
            let _ = write!(out, "</a> <span>{}</span></li>", escape(text(&operation["summary"])));
        }
        out.push_str("</ul>");
    }
    out.push_str("<p><a href=\"#problems\">Problems</a> <a href=\"#schemas\">Schemas</a></p></nav>");
}

fn article(out: &mut String, method: &str, path: &str, operation: &Value) {
    let id = escape(text(&operation["operationId"]));
    let _ = write!(out, "<article id=\"{id}\"><h3><a href=\"#{id}\">");
    title(out, method, path);
    let _ = write!(out, "</a></h3><p><strong>{}</strong></p>", escape(text(&operation["summary"])));
    out.push_str(&block(text(&operation["description"])));
    if let Some(needed) = operation["security"][0]["bearer"].as_array() {
        let scope = needed.first().map_or_else(String::new, |scope| format!(" with the scope {}", code(text(scope))));
        let _ = write!(out, "<p class=\"soft\">Needs a token{scope}, if the server requires one.</p>");
    }
    let parameters: Vec<_> = elements(&operation["parameters"]).collect();
    if !parameters.is_empty() {
        out.push_str("<h4>Parameters</h4><dl>");
        for parameter in parameters {
            let place = text(&parameter["in"]);
            let required = if parameter["required"] == true { ", required" } else { "" };
            let _ = write!(out, "<dt>{} <span>{place}{required}</span></dt>", code(text(&parameter["name"])));
            let _ = write!(out, "<dd>{}", inline(text(&parameter["description"])));
            let _ = write!(out, " <span>{}</span></dd>", schema::summary(&parameter["schema"]));
        }
        out.push_str("</dl>");
    }
    if let Some(body) = operation.get("requestBody") {
        let _ = write!(out, "<h4>Body</h4>{}", block(text(&body["description"])));
        content(out, &body["content"]);
    }
    out.push_str("<h4>Responses</h4><dl>");
    for (status, response) in entries(&operation["responses"]) {
        answer(out, status, response);
    }
    out.push_str("</dl></article>");
}

/// Appends the media types of a body with its schema, and the example.
fn content(out: &mut String, content: &Value) {
    for (media_type, content) in entries(content) {
        let _ = write!(out, "<p>{} {}</p>", code(media_type), schema::summary(&content["schema"]));
    }
    let example = entries(content).find_map(|(_, content)| content.get("example"));
    if let Some(example) = example {
        let pretty = example.as_str().map(str::to_owned).or_else(|| serde_json::to_string_pretty(example).ok());
        let _ = write!(out, "<pre><code>{}</code></pre>", escape(&pretty.unwrap_or_default()));
    }
}

fn answer(out: &mut String, status: &str, response: &Value) {
    let _ = write!(out, "<dt>{}</dt><dd>", code(status));
    if response.get("$ref").is_none() {
        out.push_str(&inline(text(&response["description"])));
        let headers = entries(&response["headers"]).filter(|(_, header)| header.get("$ref").is_none());
        for (name, header) in headers {
            let _ = write!(out, "<p>Header {}: {}</p>", code(name), inline(text(&header["schema"]["description"])));
        }
        content(out, &response["content"]);
    } else {
        // A problem: its codes have their own headings.
        for code in codes::ALL.iter().filter(|code| code.status.to_string() == status) {
            let _ = write!(out, "<a href=\"#problem-{0}\"><code>{0}</code></a> ", code.name);
        }
    }
    out.push_str("</dd>");
}

fn problems(out: &mut String) {
    out.push_str("<section><h2 id=\"problems\">Problems</h2>");
    out.push_str(&block(
        "Every error is a problem document (RFC 9457). Its member `type` leads to one of these headings. Every response has \
         the header `X-Request-Id`, and the log of the server has the same id.",
    ));
    for code in codes::ALL {
        let _ = write!(out, "<article id=\"problem-{0}\"><h3><a href=\"#problem-{0}\"><code>{0}</code></a>", code.name);
        let _ =
            write!(out, " <span>{}</span></h3>{}{}</article>", code.status, block(code.meaning), block(code.remedy));
    }
    out.push_str("</section>");
}
