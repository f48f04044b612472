//! What others hand in as evidence: notes, checkpoints, keys, proofs, requests to witnesses, and blocks. Any
//! bytes are one or an error, and what is one has one form.
#![no_main]

use geofenced::inside::{
    evidence::{Checkpoint, Memory, Note, Proof, PublicKey, Request, WitnessKey},
    store::Block,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(block) = Block::parse(bytes) {
        assert_eq!(block.bytes(), bytes);
        let _ = block.records();
    }
    if let Ok(note) = Note::parse(bytes)
        && let Ok(checkpoint) = Checkpoint::parse(note.text())
    {
        // Others may extend it.
        assert!(note.text().starts_with(&checkpoint.text()));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(proof) = Proof::parse(text) {
        assert_eq!(Proof::parse(&proof.text()).expect("its own text"), proof);
        let _ = proof.verify(&[0; 32], &[]);
    }
    if let Ok(request) = Request::parse(text) {
        assert_eq!(request.text(), text);
        let _ = Memory::default().accept(&request, None);
    }
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(key.to_string(), text.trim_end());
    }
    if let Ok(key) = WitnessKey::parse(text) {
        assert_eq!(key.to_string(), text.trim_end());
    }
    if let Some(memory) = Memory::parse(text) {
        assert_eq!(Memory::parse(&memory.text()), Some(memory));
    }
});
