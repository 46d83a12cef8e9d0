package config

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// devSecretFile keeps the secret that is generated in development, in the
// working directory. Without it each restart would refuse the tokens of the run
// before.
const devSecretFile = ".gateway-dev-secret"

// UseDevSecret replaces a generated JWT_SECRET by the one in devSecretFile. It
// creates the file if create is set and it does not exist. If the directory
// cannot be written, the secret stays as it is, for this run.
func (c *Config) UseDevSecret(dir string, create bool) error {
	if !c.Auth.EphemeralSecret || c.Server.Environment != Development {
		return nil
	}
	path := filepath.Join(dir, devSecretFile)
	secret, err := readDevSecret(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if writeDevSecret(path, rand.Text()) != nil {
			return nil
		}
		secret, err = readDevSecret(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return Error{Err: fmt.Errorf("%w; delete it and a new one is made, or set JWT_SECRET", err)}
	}
	c.Auth.Secret, c.Auth.SecretFile = secret, path
	return nil
}

func readDevSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s: mode %v, want a file that only its owner can read (0600)", path, info.Mode())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if len(secret) < MinSecret {
		return "", fmt.Errorf("%s: %d bytes, want %d or more", path, len(secret), MinSecret)
	}
	return secret, nil
}

// writeDevSecret creates the file with its content in one step, so that of two
// gateways that start at the same time both read the same secret.
func writeDevSecret(path, secret string) error {
	file, err := os.CreateTemp(filepath.Dir(path), devSecretFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(secret + "\n")
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Link(file.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
