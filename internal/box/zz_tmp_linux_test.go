package box
import ("testing";"labctl/internal/remote")
func TestZBad(t *testing.T){
 _,err:=Build(t.Context(),Options{CacheDir:t.TempDir(),Mirror:"http://127.0.0.1:9/debian",Host:remote.Host{}})
 t.Log(err)
}
func TestZTrixie(t *testing.T){
 b,err:=Build(t.Context(),Options{CacheDir:"/tmp/bt/trixie",Release:"trixie",Force:true,Host:remote.Host{}})
 t.Log(b,err)
}
