//! The store contract's way to the stores (`tests/contract`): what leader and views do, called by
//! a page of its own. There only with the feature `contract`, which the app is not built with.

use super::commit::{self, CommitFault, Epoch};
use super::database::{Closed, Database};
use super::history;
use crate::port::StoreFault;
use js_sys::{Promise, Reflect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::client::rows::Op;
use shared::jid::BareJid;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

/// What a tab is: a database, and perhaps the lead.
struct Tab {
    database: Rc<Database>,
    epoch: Cell<Option<Epoch>>,
}

type Tabs = Rc<RefCell<Vec<Rc<Tab>>>>;

/// Puts the function `contract(verb, tab, json)` into the page: a promise of JSON, or of a fault's
/// name.
pub fn offer() {
    let tabs = Tabs::default();
    let call = Closure::<dyn Fn(String, usize, String) -> Promise>::new(move |verb, tab, json| {
        let tabs = tabs.clone();
        future_to_promise(async move {
            let outcome = answer(&tabs, verb, tab, json).await;
            outcome.map(JsValue::from).map_err(|fault: String| fault.into())
        })
    });
    Reflect::set(&js_sys::global(), &"contract".into(), call.as_ref()).ok();
    call.forget();
}

async fn answer(tabs: &Tabs, verb: String, tab: usize, json: String) -> Result<String, String> {
    if verb == "open" {
        let account: BareJid = given(&json)?;
        let tab = Tab { database: Database::of(&account), epoch: Cell::new(None) };
        tabs.borrow_mut().push(Rc::new(tab));
        return told(&(tabs.borrow().len() - 1));
    }
    let tab = tabs.borrow().get(tab).cloned().ok_or("there is no such tab")?;
    let database = &tab.database;
    match verb.as_str() {
        "lead" => {
            tab.epoch.set(Some(commit::claim(database).await.map_err(name)?));
            told(&())
        }
        "commit" => {
            let epoch = tab.epoch.get().ok_or("the tab does not lead")?;
            let ops: Vec<Op> = given(&json)?;
            commit::commit(database, epoch, &ops).await.map_err(name)?;
            told(&())
        }
        "rows" => told(&history::load(database).await.map_err(store_name)?),
        "page" => {
            let (conversation, before, limit): (BareJid, _, _) = given(&json)?;
            told(&history::page(database, &conversation, before, limit).await.map_err(store_name)?)
        }
        "account" => told(&history::account(database).await.map_err(store_name)?),
        "conversations" => told(&history::conversations(database).await.map_err(store_name)?),
        "news" => told(&history::news(database).await.map_err(store_name)?),
        "close" => {
            database.close(Closed::Here);
            told(&())
        }
        _ => Err(format!("what is {verb:?}?")),
    }
}

fn given<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn told(answer: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(answer).map_err(|error| error.to_string())
}

fn name(fault: CommitFault) -> String {
    match fault {
        CommitFault::Fenced => "Fenced".to_owned(),
        CommitFault::Store(fault) => store_name(fault),
    }
}

fn store_name(fault: StoreFault) -> String {
    format!("{fault:?}")
}
