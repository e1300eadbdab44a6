//! What one side writes the other reads, memory goes back, and nonsense is refused.

#![cfg(test)]

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Int64Array, ListArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow::datatypes::Int32Type;
use bireme_shared_memory::{
    Arena, Block, EncodedBatch, Filling, Mapping, Place, SharedMemoryError, is_handed, open_sealed,
    receive_with_descriptor, seal, send_with_descriptor,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

const MIB: u64 = 1 << 20;

fn passed(arena: &Arena) -> OwnedFd {
    let (near, far) = UnixStream::pair().unwrap();
    let sent = send_with_descriptor(&near, b"hello", Some(arena.descriptor())).unwrap();
    let mut bytes = [0; 16];
    let (received, descriptor) = receive_with_descriptor(&far, &mut bytes).unwrap();
    assert_eq!((sent, received, &bytes[..5]), (5, 5, &b"hello"[..]));
    descriptor.expect("the descriptor came along")
}

fn block(mapping: &Arc<Mapping>, place: Place) -> Block {
    let ignored = Arc::new(|_| {});
    mapping.block(place.offset, place.bytes, ignored).unwrap()
}

/// Bytes of memory the system holds for the file.
fn backed(descriptor: &OwnedFd) -> u64 {
    let file = std::fs::File::from(descriptor.try_clone().unwrap());
    std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) * 512
}

#[test]
fn what_is_written_is_read_in_place_and_reused_once_released() {
    let mut arena = Arena::new("test", 64 * MIB, MIB).unwrap();
    let descriptor = passed(&arena);
    let mapping = Mapping::new(&descriptor).unwrap();
    let long = vec![7_u8; 100_000];
    let first = arena.write(&[b"ab", b"", &long]).unwrap().unwrap();
    let second = arena.write(&[b"second"]).unwrap().unwrap();
    assert_eq!(first.bytes, 100_002);
    assert_eq!(arena.in_use(), 102_400 + 4096);
    let released = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&released);
    let read = mapping.block(
        first.offset,
        first.bytes,
        Arc::new(move |offset| note.lock().unwrap().push(offset)),
    );
    let read = read.unwrap();
    assert_eq!(read.as_ref()[..4], [b'a', b'b', 7, 7]);
    assert_eq!(read.as_ref().len(), 100_002);
    assert_eq!(block(&mapping, second).as_ref(), b"second");
    drop(read);
    assert_eq!(*released.lock().unwrap(), [first.offset]);
    arena.release(first.offset).unwrap();
    let third = arena.write(&[&long]).unwrap().unwrap();
    assert_eq!(third.offset, first.offset, "warm memory is used first");
    // A reader keeps the memory when its writer is gone.
    let read = block(&mapping, third);
    drop(arena);
    assert!(read.as_ref().iter().all(|byte| *byte == 7));
}

#[test]
fn memory_that_is_used_again_holds_what_was_written_last() {
    let mut arena = Arena::new("test", 64 * MIB, MIB).unwrap();
    let mapping = Mapping::of(&arena);
    let noise: Vec<u8> = (0..150_000_u32)
        .map(|i| (i.wrapping_mul(i) / 7) as u8)
        .collect();
    for shift in 0..130 {
        let pieces = [&noise[..shift], &noise[shift * 3..][..70_000], &noise[..33]];
        let place = arena.write(&pieces).unwrap().unwrap();
        assert_eq!(place.offset, 0, "{shift}");
        assert!(
            block(&mapping, place).as_ref() == pieces.concat(),
            "{shift}"
        );
        arena.release(place.offset).unwrap();
    }
}

#[test]
fn free_memory_beyond_what_is_kept_goes_back_to_the_system() {
    let mut arena = Arena::new("test", 64 * MIB, MIB).unwrap();
    let descriptor = passed(&arena);
    assert_eq!(
        backed(&descriptor),
        0,
        "nothing is held before it is written"
    );
    let piece = vec![1_u8; MIB as usize / 2];
    let places: Vec<_> = (0..16)
        .map(|_| arena.write(&[&piece]).unwrap().unwrap())
        .collect();
    assert_eq!(backed(&descriptor), 8 * MIB);
    for place in &places {
        arena.release(place.offset).unwrap();
    }
    assert_eq!((arena.in_use(), arena.kept()), (0, MIB));
    assert_eq!(backed(&descriptor), MIB);
    assert_eq!(arena.trim_by(5000), 8192, "whole pages");
    assert_eq!(
        (backed(&descriptor), arena.kept()),
        (MIB - 8192, MIB - 8192)
    );
    arena.trim();
    assert_eq!((backed(&descriptor), arena.kept()), (0, 0));
    assert_eq!(arena.trim_by(1), 0);
    // What was given back can be written again.
    let again = arena.write(&[&piece]).unwrap().unwrap();
    let mapping = Mapping::new(&descriptor).unwrap();
    assert_eq!(block(&mapping, again).as_ref(), piece);
}

#[test]
fn a_full_arena_says_so_and_takes_more_once_there_is_room() {
    let mut arena = Arena::new("test", 4 * 4096, 0).unwrap();
    let places: Vec<_> = (0..4)
        .map(|i| arena.write(&[&[i; 4096]]).unwrap().unwrap())
        .collect();
    assert_eq!(arena.write(&[b"x"]).unwrap(), None);
    arena.release(places[1].offset).unwrap();
    arena.release(places[2].offset).unwrap();
    let both = arena.write(&[&[9; 8192]]).unwrap().unwrap();
    assert_eq!(both.offset, places[1].offset, "neighbours became one");
}

#[test]
fn nonsense_is_refused() {
    let mut arena = Arena::new("test", MIB, 0).unwrap();
    let place = arena.write(&[b"x"]).unwrap().unwrap();
    arena.release(place.offset).unwrap();
    let twice = arena.release(place.offset).unwrap_err().to_string();
    assert!(twice.contains("nothing to release"), "{twice}");
    let mapping = Mapping::new(&passed(&arena)).unwrap();
    for (offset, bytes) in [(MIB, 1), (MIB - 1, 2), (u64::MAX, 2)] {
        let refused = mapping.block(offset, bytes, Arc::new(|_| {})).unwrap_err();
        assert!(matches!(refused, SharedMemoryError::Misplaced { .. }));
    }
    let file = tempfile();
    let unsealed = Mapping::new(&file).unwrap_err().to_string();
    assert!(
        unsealed.contains("look at") || unsealed.contains("sealed"),
        "{unsealed}"
    );
}

#[test]
fn memory_is_filled_by_one_sealed_and_read_by_another() {
    let flags = nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING;
    let memory = nix::sys::memfd::memfd_create("handed", flags).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    assert!(is_handed(&path));
    let refused = open_sealed(&path).unwrap_err().to_string();
    assert!(refused.contains("not sealed"), "{refused}");
    let filling = Filling::open(&path).unwrap();
    filling.write(0, &[b"ab", b"", b"cd"]).unwrap();
    filling.write(4096, &[b"later"]).unwrap();
    seal(&memory).unwrap();
    assert!(filling.write(0, &[b"x"]).is_err(), "nobody writes any more");
    let refused = Filling::open(&path).unwrap_err().to_string();
    assert!(refused.contains("sealed already"), "{refused}");
    let mapping = Mapping::new(&open_sealed(&path).unwrap()).unwrap();
    drop((memory, filling));
    let read = mapping.block(0, mapping.size(), Arc::new(|_| {})).unwrap();
    assert_eq!(
        (&read.as_ref()[..4], &read.as_ref()[4096..]),
        (&b"abcd"[..], &b"later"[..])
    );
    let refused = open_sealed(&path).unwrap_err().to_string();
    assert!(refused.contains("let go of it"), "{refused}");
    for other in [
        "/proc/1/fd/",
        "/proc/self/fd/1",
        "/proc/1/fd/1/x",
        "/proc//fd/1",
        "/dev/shm/x",
    ] {
        assert!(!is_handed(other), "{other}");
    }
}

/// A file that could be cut short under its reader.
fn tempfile() -> OwnedFd {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    let file = nix::sys::memfd::memfd_create("unsealed", flags).unwrap();
    nix::unistd::ftruncate(&file, 4096).unwrap();
    file
}

#[test]
fn a_batch_is_read_where_it_was_written() {
    let texts = ["a text of more than twelve bytes", "short", ""];
    let lists = (0..3).map(|n| (n != 1).then(|| vec![Some(n), None]));
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "n",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
        ),
        ("v", Arc::new(StringViewArray::from(texts.to_vec()))),
        ("s", Arc::new(StringArray::from(texts.to_vec()))),
        (
            "d",
            Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>()),
        ),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        ),
    ];
    let columns = columns
        .into_iter()
        .map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut arena = Arena::new("test", 1 << 20, 0).unwrap();
    let mapping = Mapping::of(&arena);
    for batch in [batch.clone(), batch.slice(1, 2), batch.slice(0, 0)] {
        let encoded = EncodedBatch::new(&batch).unwrap();
        let written = arena.write_batch(&encoded).unwrap().unwrap();
        let (bytes, read) = mapping.batch(written, Arc::new(|_| {})).unwrap();
        assert_eq!(read, batch);
        let pieces: Vec<&[u8]> = encoded.pieces().iter().map(|one| one.as_slice()).collect();
        assert_eq!(bytes.as_slice(), pieces.concat());
        let lies_there = bytes.as_ptr_range();
        for data in read.columns().iter().map(|column| column.to_data()) {
            let mut buffers = data.buffers().iter().filter(|one| !one.is_empty());
            assert!(buffers.all(|one| lies_there.contains(&one.as_ptr())));
        }
    }
    // A place of another arena is none of this.
    let mut other = Arena::new("other", 1 << 20, 0).unwrap();
    let written = other.write_batch(&EncodedBatch::new(&batch).unwrap());
    let refused = mapping.batch(written.unwrap().unwrap(), Arc::new(|_| {}));
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.ends_with("the batch lies in another arena"),
        "{refused}"
    );
}
