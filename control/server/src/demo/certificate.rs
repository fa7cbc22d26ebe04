//! The certificate of `--lan`: made once an address and kept, so that a browser that was told to trust it
//! need not be told again.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// PEM files of certificate and key.
pub struct Files {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The certificate for an address, made if it is not there.
///
/// # Errors
/// The folder cannot be written.
pub fn for_address(address: IpAddr) -> io::Result<Files> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache.or_else(home).ok_or_else(|| {
        io::Error::other("neither XDG_CACHE_HOME nor HOME says where to keep a certificate")
    })?;
    in_folder(&cache.join("bifrons"), address)
}

fn in_folder(folder: &Path, address: IpAddr) -> io::Result<Files> {
    let name = address.to_string().replace(':', "-");
    let files = Files {
        certificate: folder.join(format!("demo-{name}.pem")),
        key: folder.join(format!("demo-{name}-key.pem")),
    };
    if files.certificate.is_file() && files.key.is_file() {
        return Ok(files);
    }
    let made = rcgen::generate_simple_self_signed([address.to_string(), "localhost".into()])
        .map_err(io::Error::other)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let write = |path: &Path, text: &str| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write(&files.key, &made.signing_key.serialize_pem())?;
    write(&files.certificate, &made.cert.pem())?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_usable() {
        let folder = std::env::temp_dir().join(format!("bifrons-certificate-{}", std::process::id()));
        let files = in_folder(&folder, "fd00::1".parse().unwrap()).unwrap();
        bifrons_transports::Certificates::load(&files.certificate, &files.key).unwrap();
        let first = std::fs::read(&files.certificate).unwrap();
        let again = in_folder(&folder, "fd00::1".parse().unwrap()).unwrap();
        assert_eq!(std::fs::read(&again.certificate).unwrap(), first);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
