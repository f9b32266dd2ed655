//! The two shapes that most of the drafts' definitions have.

/// Implements the codec of a struct whose encoding is that of its fields in the order given.
macro_rules! wire_fields {
    ($name:ident { $($field:tt),* $(,)? }) => {
        impl $crate::codec::Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $( $crate::codec::Encode::encode(&self.$field, out); )*
            }
        }
        impl $crate::codec::Decode for $name {
            fn decode(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self {
                    $( $field: $crate::codec::Decode::decode(
                        r.field(concat!(stringify!($name), ".", stringify!($field))),
                    )?, )*
                })
            }
        }
    };
}

/// Defines an enumeration of one octet without associated data, with its codec and its name as text.
macro_rules! wire_codes {
    (
        $(#[$meta:meta])*
        $name:ident, $what:literal {
            $( $(#[$case_meta:meta])* $case:ident = $value:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub enum $name {
            $( $(#[$case_meta])* $case = $value, )*
        }

        impl $name {
            /// Every case, in the order of their numbers.
            pub const ALL: &'static [Self] = &[ $( Self::$case, )* ];

            /// The number on the wire.
            pub const fn code(self) -> u8 {
                self as u8
            }
        }

        impl TryFrom<u8> for $name {
            type Error = u8;

            fn try_from(code: u8) -> Result<Self, u8> {
                match code {
                    $( $value => Ok(Self::$case), )*
                    other => Err(other),
                }
            }
        }

        impl $crate::codec::Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.push(self.code());
            }
        }

        impl $crate::codec::Decode for $name {
            fn decode(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                let at = r.clone();
                Self::try_from(r.u8()?).map_err(|code| at.unknown($what, code))
            }
        }
    };
}

/// JSON of a newtype over `u64`: a decimal string, since JSON numbers lose precision above 2^53.
macro_rules! decimal_json {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map(Self).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use {decimal_json, wire_codes, wire_fields};
