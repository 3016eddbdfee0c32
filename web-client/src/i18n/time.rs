//! Times and dates as the browser's `Intl` writes them, in the reader's own time zone.

use super::Lang;
use js_sys::Intl::{DateTimeFormat, RelativeTimeFormat};
use js_sys::{Array, Date, Function, Object, Reflect};
use shared::time::Millis;
use std::cell::RefCell;
use std::collections::HashMap;
use wasm_bindgen::JsValue;

const DAY_MS: f64 = 86_400_000.0;

/// How much of a moment is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Style {
    Clock,
    Weekday,
    Date,
    LongDate,
    Full,
}

impl Style {
    fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Clock => &[("hour", "2-digit"), ("minute", "2-digit"), ("hourCycle", "h23")],
            Self::Weekday => &[("weekday", "long")],
            Self::Date => &[("year", "numeric"), ("month", "numeric"), ("day", "numeric")],
            Self::LongDate => &[("dateStyle", "full")],
            Self::Full => &[("dateStyle", "medium"), ("timeStyle", "medium"), ("hourCycle", "h23")],
        }
    }
}

thread_local! {
    /// Making a formatter costs a hundred times more than using it.
    static FORMATTERS: RefCell<HashMap<(&'static str, Style), Function>> = RefCell::default();
}

fn write(lang: Lang, style: Style, at: Millis) -> String {
    let formatter = FORMATTERS.with_borrow_mut(|formatters| {
        let make = || {
            let options = Object::new();
            for (name, value) in style.options() {
                let _ = Reflect::set(&options, &(*name).into(), &(*value).into());
            }
            DateTimeFormat::new(&locales(lang), &options).format()
        };
        formatters.entry((lang.tag(), style)).or_insert_with(make).clone()
    });
    let text = formatter.call1(&JsValue::UNDEFINED, &date(at));
    text.ok().and_then(|text| text.as_string()).unwrap_or_default()
}

fn locales(lang: Lang) -> Array {
    Array::of1(&lang.tag().into())
}

fn date(at: Millis) -> Date {
    Date::new(&JsValue::from_f64(at.0 as f64))
}

/// This moment.
pub fn now() -> Millis {
    Millis(Date::now() as u64)
}

/// The day a moment falls on where the reader is, counted from an arbitrary one.
pub fn day(at: Millis) -> i64 {
    let offset_ms = date(at).get_timezone_offset() * 60_000.0;
    ((at.0 as f64 - offset_ms) / DAY_MS).floor() as i64
}

/// `14:05`.
pub fn clock(lang: Lang, at: Millis) -> String {
    write(lang, Style::Clock, at)
}

/// Date and time to the second.
pub fn full(lang: Lang, at: Millis) -> String {
    write(lang, Style::Full, at)
}

/// For a list: the time today, else the day.
pub fn brief(lang: Lang, at: Millis, today: i64) -> String {
    match today - day(at) {
        0 => clock(lang, at),
        1 => yesterday(lang),
        2..=6 => write(lang, Style::Weekday, at),
        _ => write(lang, Style::Date, at),
    }
}

/// For a separator between two days.
pub fn day_name(lang: Lang, at: Millis, today: i64) -> String {
    match today - day(at) {
        0 => relative_day(lang, 0.0),
        1 => yesterday(lang),
        _ => write(lang, Style::LongDate, at),
    }
}

fn yesterday(lang: Lang) -> String {
    relative_day(lang, -1.0)
}

fn relative_day(lang: Lang, days: f64) -> String {
    let options = Object::new();
    let _ = Reflect::set(&options, &"numeric".into(), &"auto".into());
    let text = String::from(RelativeTimeFormat::new(&locales(lang), &options).format(days, "day"));
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
