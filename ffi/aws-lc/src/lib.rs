//! AES-GCM keys of AWS-LC that stand where their owner stands.
//!
//! The safe bindings (`aws-lc-rs`) keep each key in an allocation of its own: a packet has to follow its pointer, and
//! nobody outside can ask for that memory before. A [`GcmKey`] is the state itself, so a context that contains it is one
//! piece of memory. Sealing and opening work in place.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

use aws_lc_sys as sys;

/// Length of a nonce, bytes (RFC 5116 §5.1).
pub const NONCE_LEN: usize = 12;
/// Length of a tag, bytes (RFC 5116 §5.1).
pub const TAG_LEN: usize = 16;

/// A key of AES-128-GCM or AES-256-GCM, expanded.
///
/// It may be moved, which leaves a copy behind that is not wiped; where it is dropped it is. A packet needs all of it.
pub struct GcmKey {
    // Never null in `aead`: `new` gives away no key that is not initialised.
    state: sys::EVP_AEAD_CTX,
}

/// Why there is no key, or no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A key has 16 or 32 bytes.
    KeyLen(usize),
    /// The tag is wrong: what was to be opened is zeros now.
    Authentication,
    /// The library refused for another reason, and what it was given is zeros now.
    Library,
}

// SAFETY: the state is plain memory without thread affinity: expanded key, hash table and pointers to static functions.
unsafe impl Send for GcmKey {}
// SAFETY: sealing and opening take `const EVP_AEAD_CTX *`, and may be called from several threads at a time
// (openssl/aead.h). Nothing else is done through a shared reference.
unsafe impl Sync for GcmKey {}

impl GcmKey {
    /// Expands a key of 16 or 32 bytes.
    ///
    /// # Errors
    /// [`Error::KeyLen`]; [`Error::Library`] does not happen with such a key.
    pub fn new(key: &[u8]) -> Result<Self, Error> {
        // SAFETY: without arguments, and may be called again. Both getters give a pointer to a static description.
        let aead = unsafe {
            sys::CRYPTO_library_init();
            match key.len() {
                16 => sys::EVP_aead_aes_128_gcm(),
                32 => sys::EVP_aead_aes_256_gcm(),
                len => return Err(Error::KeyLen(len)),
            }
        };
        let mut state = MaybeUninit::<sys::EVP_AEAD_CTX>::zeroed();
        // SAFETY: `state` is writable, and zeros are a valid state of a C structure of pointers and bytes; the key is
        // readable for its length. The engine (last argument) is ignored and may be null.
        let made = unsafe {
            sys::EVP_AEAD_CTX_init(
                state.as_mut_ptr(),
                aead,
                key.as_ptr(),
                key.len(),
                TAG_LEN,
                ptr::null_mut(),
            )
        };
        if made != 1 {
            return Err(Error::Library);
        }
        // SAFETY: initialised, all of it: zeros first, then the key. That Rust moves it from here on is sound because the
        // state of AES-GCM has no pointer into itself and owns nothing: `aead_ctx_copy_state_trivial`, with which
        // AWS-LC copies it (EVP_AEAD_CTX_copy), is a copy of its bytes. AWS-LC is pinned; look there again before
        // another version is used.
        Ok(Self { state: unsafe { state.assume_init() } })
    }

    /// Encrypts in place and gives the tag. A nonce protects one message and never a second one.
    ///
    /// # Errors
    /// [`Error::Library`]: a message longer than AES-GCM can protect, 64 GiB.
    #[inline]
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        message: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), Error> {
        let mut tag_len = 0;
        let (at, len) = (message.as_mut_ptr(), message.len());
        // SAFETY: the state is initialised. `message` is readable and writable for its length and may be both input and
        // output; the borrows show that tag, nonce and associated data are others' memory. There is no extra input.
        let sealed = unsafe {
            sys::EVP_AEAD_CTX_seal_scatter(
                &raw const self.state,
                at,
                tag.as_mut_ptr(),
                &raw mut tag_len,
                TAG_LEN,
                nonce.as_ptr(),
                NONCE_LEN,
                at,
                len,
                ptr::null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        // A shorter tag cannot be, since `new` asks for one of this length; it would let forged packets through.
        if sealed == 1 && tag_len == TAG_LEN { Ok(()) } else { Err(Error::Library) }
    }

    /// Authenticates and decrypts in place.
    ///
    /// # Errors
    /// [`Error::Authentication`].
    #[inline]
    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        message: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Error> {
        let (at, len) = (message.as_mut_ptr(), message.len());
        // SAFETY: as in `seal`; the tag is only read.
        let opened = unsafe {
            sys::EVP_AEAD_CTX_open_gather(
                &raw const self.state,
                at,
                nonce.as_ptr(),
                NONCE_LEN,
                at,
                len,
                tag.as_ptr(),
                TAG_LEN,
                aad.as_ptr(),
                aad.len(),
            )
        };
        if opened == 1 { Ok(()) } else { Err(Error::Authentication) }
    }
}

impl Drop for GcmKey {
    fn drop(&mut self) {
        let state = &raw mut self.state;
        // SAFETY: the state is initialised and nobody uses it any more; then its bytes are wiped, all of which are ours.
        unsafe {
            sys::EVP_AEAD_CTX_cleanup(state);
            sys::OPENSSL_cleanse(state.cast(), size_of::<sys::EVP_AEAD_CTX>());
        }
    }
}

impl fmt::Debug for GcmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GcmKey")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyLen(len) => write!(f, "an AES-GCM key has 16 or 32 bytes, not {len}"),
            Self::Authentication => f.write_str("wrong authentication tag"),
            Self::Library => f.write_str("AES-GCM refused"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().map(|b| (b as char).to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// Test cases 4 and 16 of the GCM specification (McGrew, Viega 2005, appendix B).
    const AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    const PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    const CASES: [(&str, &str, &str); 2] = [
        (
            "feffe9928665731c6d6a8f9467308308",
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ];

    fn nonce() -> [u8; NONCE_LEN] {
        unhex("cafebabefacedbaddecaf888").try_into().unwrap()
    }

    /// Seals and opens the test case with this key, wherever it stands.
    fn check(key: &GcmKey, sealed: &str, tag: &str) {
        let (aad, mut message) = (unhex(AAD), unhex(PLAIN));
        let mut out = [0; TAG_LEN];
        key.seal(&nonce(), &aad, &mut message, &mut out).unwrap();
        assert_eq!((message.as_slice(), out.as_slice()), (&*unhex(sealed), &*unhex(tag)));
        key.open(&nonce(), &aad, &mut message, &out).unwrap();
        assert_eq!(message, unhex(PLAIN));
    }

    #[test]
    fn vectors_of_the_specification() {
        for (key, sealed, tag) in CASES {
            check(&GcmKey::new(&unhex(key)).unwrap(), sealed, tag);
        }
    }

    #[test]
    fn a_key_may_be_moved() {
        let (key, sealed, tag) = CASES[0];
        let mut keys: Vec<GcmKey> = (0..3).map(|_| GcmKey::new(&unhex(key)).unwrap()).collect();
        keys.iter().for_each(|key| check(key, sealed, tag));
        let first = keys.remove(0); // the others move down
        let boxed = Box::new(first); // and this one to the heap
        keys.reserve(64); // and these elsewhere
        keys.iter().chain([&*boxed]).for_each(|key| check(key, sealed, tag));
        std::thread::spawn(move || check(&boxed, sealed, tag)).join().unwrap();
    }

    #[test]
    fn a_bit_that_is_wrong_anywhere_is_seen() {
        let (key, sealed, tag) = CASES[1];
        let key = GcmKey::new(&unhex(key)).unwrap();
        let right = (nonce().to_vec(), unhex(AAD), unhex(sealed), unhex(tag));
        for part in 0..4 {
            let mut wrong = right.clone();
            let bytes =
                [&mut wrong.0, &mut wrong.1, &mut wrong.2, &mut wrong.3].into_iter().nth(part).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            let (nonce, aad, mut message, tag) = wrong;
            let opened = key.open(&nonce.try_into().unwrap(), &aad, &mut message, &tag.try_into().unwrap());
            assert_eq!(opened, Err(Error::Authentication));
            assert!(message.iter().all(|byte| *byte == 0), "nothing that is not authentic is given out");
        }
    }

    #[test]
    fn empty_messages_and_data_are_messages() {
        let key = GcmKey::new(&[7; 16]).unwrap();
        let mut tag = [0; TAG_LEN];
        key.seal(&nonce(), &[], &mut [], &mut tag).unwrap();
        assert_eq!(key.open(&nonce(), &[], &mut [], &tag), Ok(()));
        assert_eq!(key.open(&nonce(), &[1], &mut [], &tag), Err(Error::Authentication));
    }

    #[test]
    fn keys_of_other_lengths_are_refused() {
        for len in [0, 15, 17, 24, 33] {
            assert_eq!(GcmKey::new(&vec![1; len]).unwrap_err(), Error::KeyLen(len));
        }
    }
}
