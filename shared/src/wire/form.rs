//! Data forms (XEP-0004), as far as a request carries one.

use super::{Element, ns};

/// The fields of a submitted form: their names and values.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Form {
    fields: Vec<(String, Vec<String>)>,
}

impl Form {
    /// Reads `<x type='submit'/>`.
    pub fn read(x: &Element) -> Self {
        let fields = x.children().filter(|child| child.is(ns::DATA_FORMS, "field")).map(|field| {
            let values = field.children().filter(|child| child.is(ns::DATA_FORMS, "value"));
            (field.attr("var").unwrap_or_default().to_owned(), values.map(Element::text).collect())
        });
        Self { fields: fields.collect() }
    }

    /// What form it says it is: its `FORM_TYPE` (XEP-0068).
    pub fn form_type(&self) -> Option<&str> {
        self.value("FORM_TYPE")
    }

    /// The first value of a field.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().map(String::as_str)
    }

    /// All values of a field.
    pub fn values(&self, name: &str) -> &[String] {
        self.fields.iter().find(|(var, _)| var == name).map_or(&[], |(_, values)| values)
    }

    /// The names of its fields, but for `FORM_TYPE`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(var, _)| var.as_str()).filter(|var| *var != "FORM_TYPE")
    }
}

/// A field as it stands in a form: its type, name and values.
pub fn field(kind: &str, name: &str, values: &[&str]) -> Element {
    let mut field = Element::new(ns::DATA_FORMS, "field").with_attr("type", kind).with_attr("var", name);
    for value in values {
        field.push(Element::new(ns::DATA_FORMS, "value").with_text(*value));
    }
    field
}

/// A form (`kind`: a `form` to be filled in, or a `result`) of this `FORM_TYPE` (XEP-0068).
pub fn form(kind: &str, form_type: &str, fields: impl IntoIterator<Item = Element>) -> Element {
    let mut x = Element::new(ns::DATA_FORMS, "x").with_attr("type", kind);
    x.push(field("hidden", "FORM_TYPE", &[form_type]));
    fields.into_iter().for_each(|field| x.push(field));
    x
}
