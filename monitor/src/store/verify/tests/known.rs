//! What verifiers of others let pass, or were fooled by: the kinds of systemd#15425, #28885, #28886 and of
//! immudb#2063, #2091; and what a store tells of its own past.

use std::fs;

use super::{Kind, Sample, Trust, blocks, fill, has, notice, options, verify};
use crate::{
    event::Notice,
    evidence::{KeyName, Note, PublicKey, Signer},
    store::{
        Store,
        evidence::{checkpoints::stretches, keys::succession_text},
        tests::config,
    },
};

#[test]
fn a_store_without_a_signature_is_not_intact() {
    let sample = Sample::new(10);
    fs::remove_file(sample.path("evidence/checkpoints")).unwrap();
    assert!(sample.kinds().contains(&Kind::NoCheckpoint));
    fs::remove_dir_all(sample.path("evidence")).unwrap();
    assert!(sample.kinds().contains(&Kind::NoCheckpoint));
}

#[test]
fn old_entries_that_are_signed_again_with_the_newest_key_are_named() {
    let mut sample = Sample::new(20);
    let (old, new) = (sample.signer(), Signer::new(KeyName::parse("next").unwrap(), &[6; 32]));
    let text = succession_text(&old.public(), &new.public());
    let key = Notice::Key {
        line: new.public().to_string().into(),
        before: Some(old.public().to_string().into()),
        signature: Some(old.line(&text).trim_end().into()),
    };
    let mut store = Store::open_with(&config(sample.root()), options()).unwrap();
    store.append(&notice(25 * 60, key)).unwrap();
    store.close().unwrap();
    sample.keep();
    let leaves = sample.leaves();
    // Known only by the signature of the one before.
    assert_eq!(sample.trust.keys, [old.public()]);
    let right = sample.checkpoints();
    sample.sign(&new, &sample.origin(), &leaves);
    assert_eq!(sample.findings(), []);
    fs::write(sample.path("evidence/checkpoints"), "").unwrap();
    sample.sign(&new, &sample.origin(), &leaves[..10]);
    sample.sign(&new, &sample.origin(), &leaves);
    assert!(sample.kinds().contains(&Kind::KeyOutOfTime), "{:?}", sample.findings());
    // And what comes after the new key is not the old one's to sign.
    fs::write(sample.path("evidence/checkpoints"), right).unwrap();
    let mut store = Store::open_with(&config(sample.root()), options()).unwrap();
    fill(&mut store, 3, 30);
    store.close().unwrap();
    assert!(sample.kinds().contains(&Kind::KeyOutOfTime), "{:?}", sample.findings());
}

#[test]
fn a_time_without_a_checkpoint_is_named_and_so_is_an_end_that_nobody_signed() {
    let sample = Sample::new(60);
    let all = sample.checkpoints();
    let each = stretches(&all);
    let first = each[0].end;
    let last = each[each.len() - 2].end;
    fs::write(sample.path("evidence/checkpoints"), [&all[..first], &all[last..]].concat()).unwrap();
    assert_eq!(sample.kinds(), [Kind::LateCheckpoint]);
    fs::write(sample.path("evidence/checkpoints"), &all[..first]).unwrap();
    let findings = sample.findings();
    assert_eq!(sample.kinds(), [Kind::UnsignedTail]);
    assert!(findings[0].from.is_some() && findings[0].to > findings[0].from);
}

#[test]
fn a_content_that_was_altered_is_found_though_the_root_is_consistent() {
    let sample = Sample::new(20);
    let (path, whole) = &sample.ledger[0];
    let (at, length, head) = blocks(whole)[3];
    let mut altered = whole.clone();
    altered[at + length - 1] ^= 0x40;
    fs::write(path, altered).unwrap();
    let findings = sample.findings();
    assert_eq!(findings.len(), 1);
    assert!(has(&findings, Kind::AlteredBlock, head.number));
    assert!(findings[0].segment == Some(1) && findings[0].from.is_some(), "{findings:?}");
}

#[test]
fn a_rollback_that_the_daemon_met_stays_told() {
    let mut sample = Sample::new(20);
    let (path, bytes) = sample.ledger.last().unwrap();
    let (at, ..) = *blocks(bytes).last().unwrap();
    fs::write(path, &bytes[..at]).unwrap();
    Store::open_with(&config(sample.root()), options()).unwrap().close().unwrap();
    sample.keep();
    assert_eq!(sample.kinds(), [Kind::RolledBack], "{:?}", sample.findings());
    // Under the origin that was given up nothing may be altered either.
    let old = sample.path("evidence/leaves.1");
    let mut leaves = fs::read(&old).unwrap();
    leaves[40] ^= 1;
    fs::write(old, leaves).unwrap();
    assert!(sample.kinds().contains(&Kind::WrongRoot), "{:?}", sample.findings());
}

#[test]
fn a_checkpoint_behind_a_larger_one_and_one_of_somebody_else_are_named() {
    let sample = Sample::new(10);
    let all = sample.checkpoints();
    sample.sign(&sample.signer(), &sample.origin(), &sample.leaves()[..5]);
    assert_eq!(sample.kinds(), [Kind::FallingSize]);
    fs::write(sample.path("evidence/checkpoints"), &all).unwrap();
    let other = Signer::new(KeyName::parse("else").unwrap(), &[3; 32]);
    sample.sign(&other, &sample.origin(), &sample.leaves());
    assert_eq!(sample.kinds(), [Kind::UnknownKey]);
    let keys: Vec<PublicKey> = vec![other.public()];
    let strangers = Trust { keys, ..Trust::default() };
    let report = verify(sample.root(), &strangers, &mut |_| {}).unwrap();
    assert!(report.findings.iter().any(|it| it.kind == Kind::UnknownKey));
    let note = Note::parse(&all[..stretches(&all)[0].end]).unwrap();
    note.verify(&sample.trust.keys).unwrap();
}
