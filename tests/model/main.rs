//! Models: what the code does, against something too simple to be wrong.
//!
//! [`window`] and [`log`] run the two data structures that everything rests on against a list of
//! everything that ever happened. [`town`] walks through every order of events that two accounts,
//! a message or two and a disaster or two allow.
//!
//! With the feature `known-bad` each of them is also given engines with a bug that it must find;
//! with `deep` the town is given more to go wrong.

mod log;
mod town;
mod window;

/// Whether a model finds a bug, within as many cases as it has.
#[cfg(feature = "known-bad")]
fn finds<T: proptest_state_machine::StateMachineTest>(
    bug: shared::bad::Bug,
    cases: u32,
    steps: std::ops::Range<usize>,
) -> bool {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::{Config, TestRunner};
    use proptest_state_machine::ReferenceStateMachine;

    let strategy = T::Reference::sequential_strategy(steps);
    let mut runner = TestRunner::new(Config::default());
    shared::bad::switch(Some(bug));
    let found = (0..cases).any(|_| {
        let (start, steps, _) = strategy.new_tree(&mut runner).expect("a sequence of steps").current();
        let run = || T::test_sequential(Config::default(), start, steps, None);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
    });
    shared::bad::switch(None);
    found
}
