//! What is signed, and that nothing else is: whatever happens to files between two starts.

use std::{fs, path::Path};

use super::{checkpoints::stretches, keys::is_succession, leaves};
use crate::{
    event::{Entry, Notice, Timestamp},
    evidence::{Checkpoint, KeyName, PublicKey, Signer, tree},
    store::{
        Store, files,
        tests::{config, small},
    },
};

fn open(root: &Path) -> Store {
    Store::open_with(&config(root), small()).unwrap()
}

fn alive(at: u64) -> Entry {
    Entry::Notice { at: Timestamp::from_secs(1_800_000_000 + at), notice: Notice::Alive }
}

/// Each entry a block of its own.
fn write(store: &mut Store, count: u64) {
    for number in 0..count {
        store.append(&alive(number)).unwrap();
        store.sync().unwrap();
    }
}

fn checkpoints(root: &Path) -> Vec<Checkpoint> {
    let keys = keys(root);
    let bytes = fs::read(root.join("evidence/checkpoints")).unwrap();
    let all = stretches(&bytes).into_iter().map(|it| it.note.unwrap());
    all.inspect(|(note, _)| assert!(note.verify(&keys).is_ok())).map(|it| it.1).collect()
}

fn keys(root: &Path) -> Vec<PublicKey> {
    super::keys::published(root).unwrap()
}

fn notices(store: &Store) -> Vec<Notice> {
    let mut notices = Vec::new();
    let each = |_, notice| {
        notices.push(notice);
        std::ops::ControlFlow::Continue(())
    };
    store.reader().notices(None, None, each).unwrap();
    notices
}

fn leaves_of(root: &Path) -> Vec<[u8; 32]> {
    leaves::read(&root.join("evidence/leaves")).unwrap().unwrap()
}

/// Roots are those of the leaves, sizes rise.
fn is_right(root: &Path) {
    let (leaves, all) = (leaves_of(root), checkpoints(root));
    for pair in all.windows(2) {
        let same = pair[0] == pair[1];
        assert!(
            pair[0].size < pair[1].size || pair[0].origin != pair[1].origin || same,
            "{pair:?}"
        );
    }
    let origin = &all.last().unwrap().origin;
    for checkpoint in all.iter().filter(|it| it.origin == *origin) {
        assert_eq!(tree::root(&leaves[..checkpoint.size as usize]), checkpoint.root);
    }
}

#[test]
fn a_closed_store_is_signed_to_its_last_block_and_the_key_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut store = open(root);
    write(&mut store, 30);
    let blocks = store.writer.progress().next_block;
    store.close().unwrap();
    is_right(root);
    let last = checkpoints(root).pop().unwrap();
    assert_eq!(last.size, blocks);
    assert_eq!(last.origin, super::host_name().to_string());
    let mode = fs::metadata(root.join("evidence/key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let told = notices(&open(root));
    let key = keys(root)[0].to_string();
    assert!(
        told.iter().any(|it| matches!(it, Notice::Key { line, before: None, .. } if **line == key))
    );
}

#[test]
fn a_segment_that_ends_is_signed_and_so_is_what_follows_on_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut store = open(root);
    write(&mut store, 3);
    let before = checkpoints(root).len();
    assert_eq!(before, 1, "only the start");
    let notice = Notice::Reloaded { policy_sha256: [1; 32] };
    store.append(&Entry::Notice { at: Timestamp::from_secs(1_800_000_000), notice }).unwrap();
    store.sync().unwrap();
    assert_eq!(checkpoints(root).len(), before + 1);
    let segment = store.writer.progress().segment;
    while store.writer.progress().segment == segment {
        assert_eq!(checkpoints(root).len(), before + 1);
        write(&mut store, 1);
    }
    assert_eq!(checkpoints(root).len(), before + 2);
    is_right(root);
}

#[test]
fn leaves_that_a_power_cut_took_are_made_again_and_nothing_else_is_signed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut store = open(root);
    write(&mut store, 5);
    let signed = checkpoints(root).pop().unwrap();
    write(&mut store, 15);
    drop(store);
    let path = root.join("evidence/leaves");
    assert_eq!(leaves_of(root).len() as u64, signed.size, "they wait for the next checkpoint");
    let mut store = open(root);
    write(&mut store, 1);
    store.close().unwrap();
    let whole = leaves_of(root);
    for cut in [signed.size * 32, signed.size * 32 + 7, 20 * 32] {
        let mut torn = whole.concat();
        torn.truncate(cut as usize);
        // What was not synced may also be zeros.
        torn.resize(cut as usize + 40, 0);
        fs::write(&path, torn).unwrap();
        let mut store = open(root);
        write(&mut store, 1);
        drop(store);
        assert_eq!(leaves_of(root)[..whole.len()], whole);
        is_right(root);
    }
    assert!(checkpoints(root).iter().all(|it| it.origin == signed.origin));
}

#[test]
fn a_ledger_that_is_shorter_than_what_was_signed_begins_another_origin_and_tells_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut store = open(root);
    write(&mut store, 5);
    store.seal().unwrap();
    let ledger = root.join("ledger/00000001.seg");
    let before = fs::read(&ledger).unwrap();
    write(&mut store, 5);
    store.close().unwrap();
    let (signed, old) = (checkpoints(root).pop().unwrap(), leaves_of(root));
    fs::write(&ledger, before).unwrap();
    for generation in 2..4 {
        let mut store = open(root);
        write(&mut store, 2);
        let told = notices(&store);
        let origin = format!("{}/2", signed.origin);
        let is_told = told.iter().any(|notice| {
            matches!(notice, Notice::RolledBack { origin: it, was } if **it == origin && **was == signed.text())
        });
        assert!(is_told, "{told:?}");
        let head = store.evidence().get().unwrap();
        assert_eq!(head.checkpoint.origin, origin);
        assert_eq!(head.rolled_back_from.is_some(), generation == 2);
        store.close().unwrap();
        is_right(root);
    }
    assert_eq!(leaves::read(&root.join("evidence/leaves.1")).unwrap().unwrap(), old);
}

#[test]
fn a_ledger_that_was_put_back_and_went_on_differently_is_not_signed_as_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut store = open(root);
    write(&mut store, 5);
    store.seal().unwrap();
    let ledger = root.join("ledger/00000001.seg");
    let before = fs::read(&ledger).unwrap();
    write(&mut store, 5);
    store.close().unwrap();
    // Another daemon goes on from there, without the evidence; then all is put together.
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("ledger")).unwrap();
    fs::write(other.path().join("ledger/00000001.seg"), before).unwrap();
    let mut store = open(other.path());
    write(&mut store, 20);
    store.close().unwrap();
    fs::copy(other.path().join("ledger/00000001.seg"), &ledger).unwrap();
    let store = open(root);
    assert!(store.evidence().get().is_none());
    store.close().unwrap();
    assert!(checkpoints(root).pop().unwrap().origin.ends_with("/2"));
    is_right(root);
}

#[test]
fn evidence_that_was_taken_away_is_not_begun_anew_under_the_same_origin() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut store = open(root);
    write(&mut store, 9);
    store.close().unwrap();
    fs::remove_dir_all(root.join("evidence")).unwrap();
    fs::remove_file(root.join("key.pub")).unwrap();
    open(root).close().unwrap();
    assert!(checkpoints(root).pop().unwrap().origin.ends_with("/2"));
    is_right(root);
}

#[test]
fn altered_leaves_are_made_again_where_the_ledger_proves_what_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut store = open(root);
    write(&mut store, 9);
    store.close().unwrap();
    let right = leaves_of(root);
    let path = root.join("evidence/leaves");
    let mut altered = right.clone();
    altered[3][9] ^= 1;
    fs::write(&path, altered.concat()).unwrap();
    open(root).close().unwrap();
    assert_eq!(leaves_of(root)[..right.len()], right);
    assert!(!checkpoints(root).pop().unwrap().origin.ends_with("/2"));
}

#[test]
fn a_torn_checkpoint_is_dropped_and_the_next_stands_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut store = open(root);
    write(&mut store, 4);
    store.close().unwrap();
    let path = root.join("evidence/checkpoints");
    let whole = fs::read(&path).unwrap();
    let count = checkpoints(root).len();
    let begin = stretches(&whole)[count - 2].end;
    for cut in begin..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let store = open(root);
        store.close().unwrap();
        is_right(root);
        assert!(!checkpoints(root).pop().unwrap().origin.ends_with("/2"), "cut at {cut}");
    }
}

#[test]
fn another_key_is_told_with_the_signature_of_the_one_before_which_is_gone_then() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    open(root).close().unwrap();
    let before = keys(root).remove(0);
    let credentials = tempfile::tempdir().unwrap();
    fs::write(credentials.path().join("geofenced.key"), [5; 32]).unwrap();
    let name = super::host_name();
    let opened = super::keys::Keys::open_with(root, &name, Some(credentials.path()));
    let mut keys = opened.unwrap();
    let Some(Notice::Key { line, before: told, signature }) = keys.notice() else { panic!() };
    let after = PublicKey::parse(&line).unwrap();
    assert_eq!(after, Signer::new(name.clone(), &[5; 32]).public());
    assert_eq!(told.as_deref(), Some(&*before.to_string()));
    assert!(is_succession(&before, &after, &signature.clone().unwrap()));
    assert!(!is_succession(&after, &before, &signature.unwrap()));
    keys.publish(root).unwrap();
    assert_eq!(super::keys::published(root).unwrap(), [after, before]);
    assert!(!root.join("evidence/key").exists());
    // With another name alone, the key stays.
    let renamed = tempfile::tempdir().unwrap();
    let root = renamed.path();
    open(root).close().unwrap();
    let other = KeyName::parse("another").unwrap();
    let mut keys = super::keys::Keys::open_with(root, &other, None).unwrap();
    keys.publish(root).unwrap();
    assert!(root.join("evidence/key").exists());
}

#[test]
fn the_last_word_tells_all_segments_that_ever_went() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut config = config(root);
    config.max_bytes = 30_000;
    let mut store = Store::open_with(&config, small()).unwrap();
    let missing = |store: &Store| {
        let there = store.reader().scan().segments().unwrap();
        let last = *there.last().unwrap();
        (1..last).filter(|it| !there.contains(it)).map(u64::from).collect::<Vec<_>>()
    };
    let told = |store: &Store| {
        let words = notices(store).into_iter().filter_map(|notice| match notice {
            Notice::Gone { ranges } => Some(ranges),
            _ => None,
        });
        let last = words.last().unwrap_or_default();
        last.into_iter().flat_map(|(from, to)| from..=to).collect::<Vec<u64>>()
    };
    for _ in 0..3 {
        write(&mut store, 120);
        store.retain().unwrap();
        store.sync().unwrap();
        assert!(!missing(&store).is_empty());
        assert_eq!(told(&store), missing(&store));
        drop(store);
        store = Store::open_with(&config, small()).unwrap();
    }
    store.close().unwrap();
    is_right(root);
    // Of a store that kept no evidence, what is missing went before.
    fs::remove_dir_all(files::evidence(root)).unwrap();
    fs::remove_file(files::public_key(root)).unwrap();
    let mut store = Store::open_with(&config, small()).unwrap();
    store.sync().unwrap();
    assert_eq!(told(&store), missing(&store));
}
