//! A script and what plays it: batches in, expected rows out.

use serde::Serialize;
use serde_json::Value;

/// Something that keeps rows: a store in memory, or the model of one.
pub trait Keeps: Default {
    /// One operation of a batch.
    type Op: Clone + Serialize;
    /// A question beyond loading.
    type Ask: Serialize;

    /// Applies one operation.
    fn apply(&mut self, op: &Self::Op);
    /// What an engine is loaded from.
    fn rows(&self) -> Value;
    /// The answer to a question.
    fn answer(&self, ask: &Self::Ask) -> Value;
}

/// One step. After each, the rows of the last [`Step::Commit`] stand.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub enum Step {
    /// A batch that can be written, and what stands after it.
    Commit { ops: Value, rows: Value },
    /// A batch that cannot be written.
    Refuse { ops: Value },
    /// The store is closed and opened anew.
    Reopen,
    /// A question and its answer.
    Ask { ask: Value, answer: Value },
}

/// A case of the contract: one store from its first row on.
#[derive(Serialize)]
pub struct Script<S> {
    /// What it shows, as a sentence.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
    #[serde(skip)]
    store: S,
}

impl<S: Keeps> Script<S> {
    /// A store without rows.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), steps: Vec::new(), store: S::default() }
    }

    /// A batch that stands.
    pub fn commit(&mut self, ops: Vec<S::Op>) -> &mut Self {
        ops.iter().for_each(|op| self.store.apply(op));
        let rows = self.store.rows();
        self.push(Step::Commit { ops: value(&ops), rows })
    }

    /// A batch of which nothing stands.
    pub fn refuse(&mut self, ops: Vec<S::Op>) -> &mut Self {
        self.push(Step::Refuse { ops: value(&ops) })
    }

    /// See [`Step::Reopen`].
    pub fn reopen(&mut self) -> &mut Self {
        self.push(Step::Reopen)
    }

    /// A question.
    pub fn ask(&mut self, ask: S::Ask) -> &mut Self {
        let answer = self.store.answer(&ask);
        self.push(Step::Ask { ask: value(&ask), answer })
    }

    fn push(&mut self, step: Step) -> &mut Self {
        self.steps.push(step);
        self
    }
}

/// As JSON.
pub fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).expect("rows are JSON")
}

/// The file that the other side plays: what a store without rows loads, and the scripts.
pub fn to_json<S: Keeps>(seed: u64, scripts: &[Script<S>]) -> String {
    let empty = S::default().rows();
    serde_json::json!({ "seed": seed, "empty": empty, "scripts": value(&scripts) }).to_string()
}
