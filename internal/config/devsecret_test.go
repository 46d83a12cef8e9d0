package config

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The generated secret is written to a file with mode 0600 and read by later
// processes. A command that does not serve writes none.
func TestGeneratedSecretIsKept(t *testing.T) {
	dir := t.TempDir()
	first, second, unkept := mustParse(t), mustParse(t), mustParse(t)
	if err := unkept.UseDevSecret(dir, false); err != nil || unkept.Auth.SecretFile != "" {
		t.Errorf("a command that does not serve wrote the secret to %q, %v", unkept.Auth.SecretFile, err)
	}
	for _, cfg := range []*Config{&first, &second, &unkept} {
		if err := cfg.UseDevSecret(dir, cfg != &unkept); err != nil {
			t.Fatal(err)
		}
		if cfg.Auth.Secret != first.Auth.Secret || cfg.Auth.SecretFile == "" {
			t.Errorf("secret %q of %q, want the first's", cfg.Auth.Secret, cfg.Auth.SecretFile)
		}
	}
	info, err := os.Stat(filepath.Join(dir, devSecretFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files are left, want one", len(entries))
	}
	own := mustParse(t, "JWT_SECRET=mine")
	if err := own.UseDevSecret(dir, true); err != nil || own.Auth.Secret != "mine" {
		t.Errorf("JWT_SECRET=mine became %q, %v", own.Auth.Secret, err)
	}
}

// Several gateways that start at the same time use the same generated secret.
func TestGatewaysThatStartTogetherUseOneSecret(t *testing.T) {
	dir := t.TempDir()
	secrets := make([]string, 8)
	var all sync.WaitGroup
	for i := range secrets {
		cfg := mustParse(t)
		all.Go(func() {
			if err := cfg.UseDevSecret(dir, true); err != nil {
				t.Error(err)
			}
			secrets[i] = cfg.Auth.Secret
		})
	}
	all.Wait()
	for _, secret := range secrets {
		if secret != secrets[0] {
			t.Fatalf("secrets %q, want the same for all", secrets)
		}
	}
}

func TestABadSecretFileIsAnError(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		mode os.FileMode
	}{"readable by others": {strings.Repeat("x", 26), 0o644}, "empty": {"", 0o600}} {
		dir := t.TempDir()
		path := filepath.Join(dir, devSecretFile)
		if err := os.WriteFile(path, []byte(row.text), row.mode); err != nil {
			t.Fatal(err)
		}
		cfg := mustParse(t)
		if err := cfg.UseDevSecret(dir, true); err == nil || !strings.Contains(err.Error(), "delete it") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error with the path and what to do", name, err)
		}
	}
	cfg := mustParse(t)
	if err := cfg.UseDevSecret(filepath.Join(t.TempDir(), "missing"), true); err != nil || cfg.Auth.SecretFile != "" || cfg.Auth.Secret == "" {
		t.Errorf("a directory that cannot be written: %q, %v", cfg.Auth.SecretFile, err)
	}
}
