//! The Durable Object `Segments`: one account's segments, where there is no R2 (`cargo xtask serve`).
//! Plain bytes under names in the object's SQLite.
//!
//! Not files: workerd's disk service puts a file in place without having it written to the disk
//! first, and a mailbox drops its rows when it is told that the segment is stored. What this object
//! has written stands on the same promise as the mailbox's rows.

use crate::crash;
use worker::{
    DurableObject, Env, Error, Method, Request, Response, Result, SqlStorageValue as Value, State,
    durable_object,
};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS segment (name TEXT PRIMARY KEY, bytes BLOB)";
const EXISTS: &str = "SELECT 1 FROM sqlite_master WHERE name = 'segment'";

/// See the module.
#[durable_object]
pub struct Segments {
    /// `None` in an object that is about to be aborted.
    state: Option<State>,
}

impl DurableObject for Segments {
    fn new(state: State, _: Env) -> Self {
        crash::enter(&state);
        let first = crash::first_construction(&state);
        Self { state: first.then_some(state) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let Some(state) = &self.state else { return Response::error("the relay crashed", 503) };
        crash::enter(state);
        let name = request.headers().get("Segment")?.ok_or("which segment?")?;
        let method = request.method();
        let bytes = if method == Method::Put { request.bytes().await? } else { Vec::new() };
        crash::enter(state);
        let sql = state.storage().sql();
        let run = |statement: &str, values: Vec<Value>| -> Result<Vec<Vec<Value>>> {
            sql.exec(statement, values)?.raw().collect()
        };
        let name = Value::String(name);
        if method == Method::Put {
            run(TABLE, vec![])?;
            run("INSERT OR REPLACE INTO segment VALUES (?, ?)", vec![name, Value::Blob(bytes)])?;
            return Ok(Response::empty()?.with_status(204));
        }
        // Nobody's questions make a table.
        let exists = !run(EXISTS, vec![])?.is_empty();
        match method {
            Method::Get if exists => {
                let found = run("SELECT bytes FROM segment WHERE name = ?", vec![name])?;
                match found.into_iter().next().and_then(|row| row.into_iter().next()) {
                    Some(Value::Blob(bytes)) => Response::from_bytes(bytes),
                    _ => Response::error("there is no such segment", 404),
                }
            }
            Method::Delete if exists => {
                run("DELETE FROM segment WHERE name = ?", vec![name])?;
                if run("SELECT 1 FROM segment LIMIT 1", vec![])?.is_empty() {
                    run("DROP TABLE segment", vec![])?;
                }
                Ok(Response::empty()?.with_status(204))
            }
            Method::Get | Method::Delete => Response::error("there is no such segment", 404),
            _ => Response::error("there is nothing here", 405),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        Response::empty()
    }

    async fn websocket_message(
        &self,
        _: worker::WebSocket,
        _: worker::WebSocketIncomingMessage,
    ) -> Result<()> {
        Ok(())
    }

    async fn websocket_close(&self, _: worker::WebSocket, _: usize, _: String, _: bool) -> Result<()> {
        Ok(())
    }

    async fn websocket_error(&self, _: worker::WebSocket, _: Error) -> Result<()> {
        Ok(())
    }

    async fn connect(&self, _: worker::Socket) -> Result<()> {
        Err(Error::from("segments have no TCP side"))
    }
}
