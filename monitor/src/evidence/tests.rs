//! Vectors of others, another's implementation of the tree, and that nothing altered is accepted.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

use super::{
    Checkpoint, Cosignature, Fault, Frontier, Hash, KeyName, Note, Proof, PublicKey, Request,
    Signer, WitnessSigner, tree,
};
use crate::ecs::hex;

type Others = MemoryBackedTree<Sha256, Vec<u8>>;

fn signer(name: &str) -> Signer {
    Signer::new(KeyName::parse(name).unwrap(), &[7; 32])
}

fn entries(count: usize) -> (Others, Vec<Hash>) {
    let (mut others, mut leaves) = (Others::new(), Vec::new());
    for number in 0..count {
        let entry = format!("entry {number}").into_bytes();
        leaves.push(tree::leaf_hash(&entry));
        others.push(entry);
    }
    (others, leaves)
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.chunks(32).map(|it| it.try_into().unwrap()).collect()
}

#[test]
fn the_well_known_eight_leaves_have_the_well_known_root() {
    let entries: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let leaves: Vec<Hash> = entries.iter().map(|it| tree::leaf_hash(it)).collect();
    let root = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
    assert_eq!(hex(&tree::root(&leaves)), root);
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex(&tree::root(&[])), empty);
}

#[test]
fn a_key_and_a_note_of_others_are_read_and_verified_as_they_say() {
    let c2sp = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    assert_eq!(PublicKey::parse(c2sp).unwrap().to_string(), c2sp);
    let go = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let note = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let keys = [PublicKey::parse(c2sp).unwrap(), PublicKey::parse(go).unwrap()];
    let read = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(read.verify(&keys).unwrap().name().as_str(), "PeterNeumann");
    assert_eq!(read.verify(&keys[..1]), Err(Fault::UnknownKey));
    for wrong in [&c2sp[1..], &c2sp[..c2sp.len() - 1], "a b+00000000+AA==", "x+1+", ""] {
        PublicKey::parse(wrong).unwrap_err();
    }
}

#[test]
fn a_note_with_any_byte_changed_is_refused() {
    let signer = signer("field-7");
    let text = Checkpoint { origin: "field-7".into(), size: 12, root: [3; 32] }.text();
    let note = signer.sign(&text).into_bytes();
    let keys = [signer.public()];
    let is_accepted = |bytes: &[u8]| {
        Note::parse(bytes)
            .is_ok_and(|note| note.verify(&keys).is_ok() && Checkpoint::parse(note.text()).is_ok())
    };
    assert!(is_accepted(&note));
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut altered = note.clone();
            altered[at] ^= 1 << bit;
            assert!(!is_accepted(&altered), "byte {at} bit {bit}");
        }
        assert!(!is_accepted(&note[..at]));
    }
}

#[test]
fn a_wrong_signature_of_a_known_key_spoils_the_note_and_one_of_an_unknown_key_does_not() {
    let (ours, other) = (signer("ours"), Signer::new(KeyName::parse("other").unwrap(), &[8; 32]));
    let text = "a\n1\nb\n";
    let note = ours.sign(text) + &other.line(text);
    let note = Note::parse(note.as_bytes()).unwrap();
    note.verify(&[ours.public()]).unwrap();
    note.verify(&[ours.public(), other.public()]).unwrap();
    let spoiled = ours.sign(text) + &other.line("another text\n");
    let spoiled = Note::parse(spoiled.as_bytes()).unwrap();
    spoiled.verify(&[ours.public()]).unwrap();
    assert_eq!(spoiled.verify(&[ours.public(), other.public()]), Err(Fault::Signature));
}

#[test]
fn a_checkpoint_has_one_form() {
    let checkpoint = Checkpoint { origin: "a/2".into(), size: 0, root: tree::empty_root() };
    assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint.clone()));
    let root = checkpoint.text().lines().nth(2).unwrap().to_owned();
    for (size, root) in [("00", &*root), ("+1", &root), ("", &root), ("1", &root[1..]), ("1", "")] {
        Checkpoint::parse(&format!("a\n{size}\n{root}\n")).unwrap_err();
    }
    Checkpoint::parse(&format!("a\n1\n{root}")).unwrap_err();
    Checkpoint::parse(&format!("a\n1\n{root}\n\nmore\n")).unwrap_err();
    Checkpoint::parse(&format!("a\n1\n{root}\nan extension\n")).unwrap();
}

#[test]
fn a_cosignature_says_when_and_over_what() {
    let witness = WitnessSigner::new(KeyName::parse("station").unwrap(), &[9; 32]);
    let text = "field-7\n1\nx\n";
    let note = signer("field-7").sign(text) + &witness.line(text, 1_800_000_000);
    let note = Note::parse(note.as_bytes()).unwrap();
    let [log, cosigned] = note.signatures() else { panic!("two lines") };
    let key = witness.public();
    let seen = Cosignature::verify(cosigned, text, &key).unwrap().unwrap();
    assert_eq!((seen.witness.as_str(), seen.seconds), ("station", 1_800_000_000));
    assert_eq!(Cosignature::verify(log, text, &key), Ok(None));
    assert_eq!(Cosignature::verify(cosigned, "other\n", &key), Err(Fault::Signature));
    let mut later = cosigned.clone();
    later.bytes[7] ^= 1;
    assert_eq!(Cosignature::verify(&later, text, &key), Err(Fault::Signature));
    assert_eq!(super::WitnessKey::parse(&key.to_string()), Ok(key));
}

#[test]
fn proof_and_request_are_read_as_they_were_written() {
    let signer = signer("field-7");
    let (_, leaves) = entries(11);
    let root = tree::root(&leaves);
    let text = Checkpoint { origin: "field-7".into(), size: 11, root }.text();
    let note = signer.sign(&text);
    for index in 0..11 {
        let hashes = tree::inclusion(&leaves, index).unwrap();
        let proof = Proof { index: index as u64, hashes, note: note.clone() };
        assert_eq!(Proof::parse(&proof.text()).unwrap(), proof);
        proof.verify(&leaves[index], &[signer.public()]).unwrap();
        let other = &leaves[(index + 1) % 11];
        assert_eq!(proof.verify(other, &[signer.public()]), Err(Fault::NotProven));
    }
    for old in 0..=11 {
        let hashes = tree::consistency(&leaves, old).unwrap();
        let request = Request { old: old as u64, hashes, note: note.clone() };
        assert_eq!(Request::parse(&request.text()).unwrap(), request);
    }
    Proof::parse("c2sp.org/tlog-proof@v1\nindex 01\n\nx").unwrap_err();
    Request::parse("old 1\nno hash\n\nx").unwrap_err();
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "[a-z0-9+/= \n\u{2014}]{0,200}") {
        for begin in ["", "old 1\n", "c2sp.org/tlog-proof@v1\nindex 1\n", "a\n1\n"] {
            let text = format!("{begin}{text}");
            let _ = (Proof::parse(&text), Request::parse(&text), Checkpoint::parse(&text));
            let _ = (Note::parse(text.as_bytes()), PublicKey::parse(&text));
        }
    }

    #[test]
    fn roots_and_proofs_are_those_of_another_implementation(
        count in 1_usize..200,
        at in any::<prop::sample::Index>(),
        old in any::<prop::sample::Index>(),
        flipped in any::<prop::sample::Index>(),
    ) {
        let (others, leaves) = entries(count);
        let root = tree::root(&leaves);
        let theirs = others.root();
        prop_assert_eq!(&root[..], theirs.as_bytes().as_slice());
        prop_assert_eq!(Frontier::of(&leaves).size(), count as u64);

        let index = at.index(count);
        let right = hashes(others.prove_inclusion(index).as_bytes());
        let ours = tree::inclusion(&leaves, index).unwrap();
        prop_assert_eq!(&ours, &right);
        let (size, at) = (count as u64, index as u64);
        tree::check_inclusion(&leaves[index], at, (size, &root), &ours).unwrap();
        prop_assert!(tree::check_inclusion(&leaves[index], at + 1, (size, &root), &ours).is_err());

        let old = 1 + old.index(count);
        let ours = tree::consistency(&leaves, old).unwrap();
        if old < count {
            prop_assert_eq!(&ours, &hashes(others.prove_consistency(count - old).as_bytes()));
        }
        let before = tree::root(&leaves[..old]);
        tree::check_consistency((old as u64, &before), (size, &root), &ours).unwrap();
        let mut altered = leaves.clone();
        altered[flipped.index(old)][5] ^= 1;
        let forged = tree::root(&altered[..old]);
        prop_assert!(tree::check_consistency((old as u64, &forged), (size, &root), &ours).is_err());
        let mut longer = ours.clone();
        longer.push([0; 32]);
        prop_assert!(tree::check_consistency((old as u64, &before), (size, &root), &longer).is_err());
    }
}
