//! Rows that no engine wrote: an older version's, or what a person did in the browser's own tools.
//! An app that cannot be opened has lost everything.

use super::script::perform;
use super::world::{World, account_row};
use crate::script::steps;
use shared::client::rows::Rows;

/// What happens afterwards: it connects, writes, reads, loses the connection, comes back.
const SESSION: &str = "\
w
o
S|hello|fresh
ibob@d|i1|hi
G
V
A
w
G
i|i2|ho
d
w
o
0R
0X
1R
Tbob@d
t?
t!1
t!4294967295
w
o
tr|m
tR|m
tb|m
K
o
O
I
o";

/// See [`crate::rows`]. No panic, no endless loop, and the app can still be used.
pub fn client_rows(bytes: &[u8]) {
    let Some(rows) = crate::rows::read::<Rows>(bytes, include_str!("rows.json")) else { return };
    let as_given = World::on_any(rows.clone());
    drop(as_given);
    let mut world = World::on_any(Rows { account: Some(account_row()), ..rows });
    steps(SESSION).for_each(|step| perform(&mut world, step));
}
