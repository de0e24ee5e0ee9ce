//! The schemas of the document, which mirror the types of the library. Tests validate real bodies against them.

mod bodies;
mod events;
mod lists;
mod problem;
mod record;
mod service;
mod values;

use super::build::AnySchema;

/// Returns all schemas with their names.
///
/// The document is a map, in which a second schema with the same name would replace the first one without an error. A
/// test therefore checks that the names are unique.
pub(super) fn all() -> Vec<(&'static str, AnySchema)> {
    [values::all(), record::all(), bodies::all(), lists::all(), events::all(), service::all(), problem::all()].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stream_registry::Stream;

    use super::*;

    #[test]
    fn names_of_schemas_are_unique() {
        let all = all();
        assert_eq!(all.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn records_have_the_fields_of_the_library() {
        for name in ["Stream", "NewStream"] {
            let all = all();
            let (_, schema) = all.iter().find(|(known, _)| *known == name).unwrap();
            let schema = serde_json::to_value(schema).unwrap();
            let fields: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, Stream::FIELDS.iter().copied().collect(), "{name}");
        }
    }
}
