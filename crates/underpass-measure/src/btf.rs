//! Finds where fields lie in the kernel's structures, and what functions and variables it has, in
//! BTF (kernel document bpf/btf.rst) as the running kernel provides it.

use std::collections::{HashMap, HashSet};
use std::io;

/// The running kernel's description of itself.
pub(crate) const OF_THIS_KERNEL: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// The sizes of `struct btf_type` and `struct btf_member`.
const TYPE: usize = 12;
const MEMBER: usize = 12;

/// The offset in bytes of `field` in `structure`, also inside unnamed structures and unions. `None`
/// if there is no such field at a whole byte, or `bytes` are not BTF.
pub(crate) fn field_offset(bytes: &[u8], structure: &str, field: &str) -> Option<u32> {
    Btf::index(bytes.to_vec())?.field(structure, field)
}

/// The tables, with an index for many questions.
#[derive(Debug)]
pub(crate) struct Btf {
    bytes: Vec<u8>,
    /// Where each type begins; type numbers count from 1.
    places: Vec<usize>,
    /// The numbers of types of the kinds that are asked for, by kind and name.
    numbers: HashMap<(u32, Vec<u8>), Vec<u32>>,
}

/// A function of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelFunction {
    /// Its type's number.
    pub(crate) number: u32,
    /// How many parameters it has.
    pub(crate) parameters: usize,
}

impl Btf {
    /// Reads the running kernel's.
    pub(crate) fn of_this_kernel() -> io::Result<Self> {
        let named = |error| io::Error::other(format!("{OF_THIS_KERNEL}: {error}"));
        let bytes = std::fs::read(OF_THIS_KERNEL).map_err(named)?;
        Self::index(bytes).ok_or_else(|| named(io::Error::other("this is not BTF")))
    }

    fn index(bytes: Vec<u8>) -> Option<Self> {
        let tables = Tables::new(&bytes)?;
        let mut places = Vec::new();
        let mut numbers: HashMap<_, Vec<u32>> = HashMap::new();
        let mut at = 0;
        while let Some(found) = tables.type_at(at) {
            places.push(at);
            if matches!(found.kind, STRUCT | TYPEDEF | FUNCTION | VARIABLE)
                && let Some(name) = tables.name(found.name)
            {
                let those = numbers.entry((found.kind, name.to_vec())).or_default();
                those.push(places.len() as u32);
            }
            let Some(extra) = found.extra() else { break };
            at = found.rest + extra;
        }
        Some(Self {
            bytes,
            places,
            numbers,
        })
    }

    /// The offset in bytes of `field` in `structure`, as [`field_offset`] tells it.
    pub(crate) fn field(&self, structure: &str, field: &str) -> Option<u32> {
        let bits = self.bits(structure, field)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// The offset of `field` in `structure`, in bits.
    fn bits(&self, structure: &str, field: &str) -> Option<u32> {
        let tables = Tables::new(&self.bytes)?;
        let those = self.numbers(STRUCT, structure);
        those.iter().find_map(|&number| {
            let owner = self.type_number(&tables, number)?;
            self.field_bits(&tables, owner, field.as_bytes())
        })
    }

    /// The byte of `structure` that has the bit field `field`, and its lowest bit there, as a mask:
    /// on a machine that is little-endian, as x86 is.
    pub(crate) fn bit(&self, structure: &str, field: &str) -> Option<(u32, u8)> {
        let bits = self.bits(structure, field)?;
        Some((bits / 8, 1 << (bits % 8)))
    }

    /// The function `name`, if the kernel has exactly one of that name.
    pub(crate) fn function(&self, name: &str) -> Option<KernelFunction> {
        let &[number] = self.numbers(FUNCTION, name) else {
            return None;
        };
        let tables = Tables::new(&self.bytes)?;
        let function = self.type_number(&tables, number)?;
        let prototype = self.type_number(&tables, function.target)?;
        Some(KernelFunction {
            number,
            parameters: prototype.count,
        })
    }

    /// The number of the tracepoint `name`.
    pub(crate) fn tracepoint(&self, name: &str) -> Option<u32> {
        let those = self.numbers(TYPEDEF, &format!("btf_trace_{name}"));
        those.first().copied()
    }

    /// How many parameters the tracepoint `name` has, without the first one of its functions, which
    /// is not its own.
    pub(crate) fn tracepoint_parameters(&self, name: &str) -> Option<usize> {
        let tables = Tables::new(&self.bytes)?;
        let number = self.tracepoint(name)?;
        let pointer = self.type_number(&tables, number)?.target;
        let prototype = self.type_number(&tables, pointer)?.target;
        self.type_number(&tables, prototype)?.count.checked_sub(1)
    }

    /// The number of the variable `name`.
    pub(crate) fn variable(&self, name: &str) -> Option<u32> {
        self.numbers(VARIABLE, name).first().copied()
    }

    fn numbers(&self, kind: u32, name: &str) -> &[u32] {
        let those = self.numbers.get(&(kind, name.as_bytes().to_vec()));
        those.map_or(&[], Vec::as_slice)
    }

    fn type_number(&self, tables: &Tables<'_>, number: u32) -> Option<Type> {
        tables.type_at(*self.places.get(number.checked_sub(1)? as usize)?)
    }

    /// The offset of `field`, in bits from the start of `owner`.
    fn field_bits(&self, tables: &Tables<'_>, owner: Type, field: &[u8]) -> Option<u32> {
        let mut parts = vec![(owner, 0_u32)];
        // No structure has a field twice, so none has an unnamed part twice. Damaged tables may.
        let mut seen = HashSet::new();
        while let Some((part, start)) = parts.pop() {
            for member in tables.members(&part) {
                let offset = start.checked_add(member.offset)?;
                match tables.name(member.name)? {
                    found if found == field => return Some(offset),
                    b"" if seen.insert(member.kind) => {
                        let inner = self.type_number(tables, member.kind)?;
                        if matches!(inner.kind, STRUCT | UNION) {
                            parts.push((inner, offset));
                        }
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

struct Tables<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

/// One `struct btf_type`, and where the data after it begins.
struct Type {
    name: u32,
    kind: u32,
    /// How many members, parameters or similar entries it has.
    count: usize,
    /// Whether members give size and offset of bit fields in one number.
    packed: bool,
    /// The number of the type that it refers to, or its size.
    target: u32,
    rest: usize,
}

/// One `struct btf_member`.
struct Member {
    name: u32,
    /// The number of the member's type.
    kind: u32,
    /// The member's offset in bits.
    offset: u32,
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const FUNCTION: u32 = 12;
const VARIABLE: u32 = 14;

impl<'a> Tables<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let magic = bytes.get(..2)?;
        if magic != MAGIC.to_ne_bytes() {
            return None;
        }
        let header = word(bytes, 4)? as usize;
        let part = |at: usize| {
            let start = header.checked_add(word(bytes, at)? as usize)?;
            let end = start.checked_add(word(bytes, at + 4)? as usize)?;
            bytes.get(start..end)
        };
        Some(Self {
            types: part(8)?,
            strings: part(16)?,
        })
    }

    fn name(&self, at: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(at as usize..)?;
        rest.split(|&byte| byte == 0).next()
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = word(self.types, at + 4)?;
        Some(Type {
            name: word(self.types, at)?,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            packed: info >> 31 == 1,
            target: word(self.types, at + 8)?,
            rest: at + TYPE,
        })
    }

    fn members(&self, owner: &Type) -> impl Iterator<Item = Member> {
        let (first, packed) = (owner.rest, owner.packed);
        (0..owner.count).map_while(move |index| {
            let at = first + index * MEMBER;
            let place = word(self.types, at + 8)?;
            Some(Member {
                name: word(self.types, at)?,
                kind: word(self.types, at + 4)?,
                offset: if packed { place & 0x00ff_ffff } else { place },
            })
        })
    }
}

impl Type {
    /// The number of bytes that belong to the type after its `struct btf_type`. `None` for an
    /// unknown kind; then the types after it cannot be found.
    fn extra(&self) -> Option<usize> {
        let each = match self.kind {
            // Integers, variables and declaration tags; arrays.
            1 | 14 | 17 => return Some(4),
            3 => return Some(12),
            STRUCT | UNION | 15 | 19 => 12,
            // Enumerators and parameters.
            6 | 13 => 8,
            // Pointers, forward declarations, typedefs, qualifiers, functions, floats and type
            // tags.
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        };
        Some(self.count * each)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// BTF with a header, `types` and `strings`.
    fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let len = types.len() as u32 * 4;
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        for number in [24, 0, len, len, strings.len() as u32] {
            bytes.extend(u32::to_ne_bytes(number));
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    /// `struct outer { int a; union { int b; int c; }; }`, after an `int`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0";
        let int = [1, 1 << 24, 4, 32];
        let union = [0, UNION << 24 | 2, 4, 13, 1, 0, 15, 1, 0];
        let outer = [5, STRUCT << 24 | 2, 8, 11, 1, 0, 0, 2, 32];
        btf(&[&int[..], &union, &outer].concat(), strings)
    }

    #[test]
    fn fields_are_found_through_unnamed_unions() {
        let bytes = sample();
        assert_eq!(field_offset(&bytes, "outer", "a"), Some(0));
        assert_eq!(field_offset(&bytes, "outer", "c"), Some(4));
        assert_eq!(field_offset(&bytes, "outer", "d"), None);
        assert_eq!(field_offset(&bytes, "inner", "a"), None);
    }

    #[test]
    fn a_bit_field_is_found_in_its_byte() {
        let strings = b"\0int\0flags\0one\0two\0";
        let int = [1, 1 << 24, 4, 32];
        let bits = |name, at: u32| [name, 1, 1 << 24 | at];
        let flags = [5, 1 << 31 | STRUCT << 24 | 2, 4];
        let types = [&int[..], &flags, &bits(11, 0), &bits(15, 13)].concat();
        let btf = Btf::index(btf(&types, strings)).unwrap();
        assert_eq!(btf.bit("flags", "one"), Some((0, 1)));
        assert_eq!(btf.bit("flags", "two"), Some((1, 1 << 5)));
        assert_eq!(btf.field("flags", "two"), None);
        assert_eq!(btf.bit("flags", "three"), None);
    }

    #[test]
    fn this_kernel_knows_where_the_length_of_a_packet_is() {
        match std::fs::read(OF_THIS_KERNEL) {
            Ok(bytes) => {
                let len = field_offset(&bytes, "sk_buff", "len").unwrap();
                assert_eq!(field_offset(&bytes, "sk_buff", "data_len"), Some(len + 4));
                let function = Btf::index(bytes).unwrap().function("skb_copy_bits");
                assert_eq!(function.unwrap().parameters, 4);
            }
            Err(error) => eprintln!("skipped: {OF_THIS_KERNEL}: {error}"),
        }
    }

    proptest! {
        #[test]
        fn damaged_tables_are_an_answer_not_a_panic(at in 0_usize..200, byte: u8, cut in 0_usize..200) {
            let mut bytes = sample();
            let len = bytes.len();
            bytes[at % len] = byte;
            bytes.truncate(len - cut % len);
            let _ = field_offset(&bytes, "outer", "c");
        }
    }
}
