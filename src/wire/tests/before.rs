//! What earlier releases wrote, and what their logs give today.

use crate::{
    domain::{
        Order,
        cell::{CellHead, Entry, Solo},
        testing::{life, watching},
    },
    wire::blob,
};

/// By seed, cells that a release made of a log: the cell's head, and its orders by id.
type Cells = Vec<(u64, Vec<u8>, Vec<(String, Vec<u8>)>)>;

fn read_and_made_anew(written: &[u8], log: impl Fn(u64) -> Vec<Entry>) {
    let cells: Cells = postcard::from_bytes(written).unwrap();
    assert_eq!(cells.len(), 2);
    for (seed, head, orders) in cells {
        let mut solo = Solo::default();
        for entry in log(seed) {
            solo.apply(&entry);
        }
        assert_eq!(blob::decode::<CellHead>(&head).unwrap(), *solo.cell.head());
        assert_eq!(orders.len(), solo.orders.values().flatten().count());
        for (id, old) in orders {
            let order = solo.orders[&id.parse().unwrap()].as_ref().unwrap();
            // Byte for byte, so that what blobs leave out (sealed chunks) doesn't count.
            let read = blob::decode::<Order>(&old).unwrap();
            assert_eq!(blob::encode(&read).unwrap(), blob::encode(order).unwrap(), "{id} of seed {seed}");
        }
    }
}

#[test]
fn old_states_are_read_and_old_logs_give_them() {
    read_and_made_anew(include_bytes!("format-2.bin"), |seed| life(seed, 350, 5, 3));
    read_and_made_anew(include_bytes!("format-3.bin"), |seed| watching(seed, 350, 5, 3));
}
