//! A blob store in memory that can fail in every way.

use crate::cold::SegmentFault;
use crate::jid::BareJid;
use crate::relay::Output;
use std::collections::{BTreeMap, VecDeque};

/// What becomes of gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Gets {
    #[default]
    Right,
    Fail,
    /// Cut in the middle.
    Cut,
    /// One bit is another.
    Changed,
    /// What is under another name.
    Another,
}

/// What the store answers.
pub enum Answer {
    Put(String, bool),
    Got(String, Result<Vec<u8>, SegmentFault>),
    Deleted(String, bool),
}

#[derive(Default)]
pub struct Blobs {
    pub kept: BTreeMap<String, Vec<u8>>,
    /// What it was asked and has not done.
    pub asked: VecDeque<(BareJid, Output)>,
    /// Nothing is done until [`super::world::World::settle_blobs`].
    pub slow: bool,
    pub held: Vec<(BareJid, Output)>,
    /// Puts are not done, and say so.
    pub puts_fail: bool,
    /// Puts are done, and their answers are lost.
    pub answers_lost: bool,
    pub deletes_fail: bool,
    pub gets: Gets,
    pub got: usize,
    pub put: usize,
    pub faults: Vec<(String, SegmentFault)>,
}

impl Blobs {
    pub fn carry_out(&mut self, account: &BareJid, output: Output) -> Option<Answer> {
        if self.slow {
            self.held.push((account.clone(), output));
            return None;
        }
        let answer = match output {
            Output::PutSegment(name, _) if self.puts_fail => Answer::Put(name, false),
            Output::PutSegment(name, bytes) => {
                self.put += 1;
                self.kept.insert(name.clone(), bytes);
                Answer::Put(name, true)
            }
            Output::GetSegment(name) => {
                self.got += 1;
                let got = self.get(&name);
                Answer::Got(name, got)
            }
            Output::DeleteSegment(name) if self.deletes_fail => Answer::Deleted(name, false),
            Output::DeleteSegment(name) => {
                self.kept.remove(&name);
                Answer::Deleted(name, true)
            }
            other => panic!("{other:?} is nothing for a blob store"),
        };
        (!self.answers_lost).then_some(answer)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, SegmentFault> {
        let mut bytes = self.kept.get(name).cloned().ok_or(SegmentFault::Missing)?;
        let middle = bytes.len() / 2;
        match self.gets {
            Gets::Right => {}
            Gets::Fail => return Err(SegmentFault::Unreachable),
            Gets::Cut => bytes.truncate(middle),
            Gets::Changed => bytes[middle] ^= 1,
            Gets::Another => {
                let another = self.kept.iter().find(|(other, _)| *other != name);
                bytes = another.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
            }
        }
        Ok(bytes)
    }
}
