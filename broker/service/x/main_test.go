package x
import ("testing";"fmt";"time";"syscall";zmq "github.com/pebbe/zmq4")
func TestX(t *testing.T){
 ctx,_:=zmq.NewContext()
 zap,_:=ctx.NewSocket(zmq.REP)
 fmt.Println(zap.Bind("inproc://zeromq.zap.01"))
 r,_:=ctx.NewSocket(zmq.ROUTER)
 r.SetZapDomain("zp"); r.SetLinger(0); r.SetRouterMandatory(1)
 fd,err:=syscall.Socket(syscall.AF_UNIX,syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC,0); fmt.Println(fd,err)
 fmt.Println(syscall.Bind(fd,&syscall.SockaddrUnix{Name:"@/zpipes/xx"}),syscall.Listen(fd,100))
 fmt.Println(r.SetUseFd(fd)); fmt.Println(r.Bind("ipc://@/zpipes/xx")); fmt.Println(r.SetUseFd(-1))
 r.SetZapDomain("")
 fmt.Println(r.Bind("tcp://127.0.0.1:*")); ep,_:=r.GetLastEndpoint(); fmt.Println(ep)
 m,_:=ctx.NewSocket(zmq.PAIR)
 fmt.Println(r.Monitor("inproc://mon",zmq.EVENT_DISCONNECTED)); m.SetRcvhwm(0); fmt.Println(m.Connect("inproc://mon"))
 go func(){ for i:=0;i<2;i++{ msg,err:=zap.RecvMessage(0); fmt.Printf("zap %q %v\n",msg,err); zap.SendMessage("1.0",msg[1],"200","OK","","") } }()
 c2,_:=zmq.NewContext()
 for _,e:=range []string{"ipc://@/zpipes/xx",ep,"ipc://@/zpipes/xx"}{
  d,_:=c2.NewSocket(zmq.DEALER); d.SetLinger(1000); d.Connect(e); d.Send("hi",0); 
  id,_:=r.RecvBytes(0); b,md,err:=r.RecvBytesWithMetadata(0,"__fd","Peer-Address","User-Id","Routing-Id","Socket-Type"); fmt.Printf("%x %s %v %v\n",id,b,md,err)
  d.SendMessage("a","b")
  id,_=r.RecvBytes(0); for { b,md,err=r.RecvBytesWithMetadata(0,"__fd"); more,_:=r.GetRcvmore(); fmt.Println(string(b),md,more); if !more{break}}
  d.Close()
  ev,ad,v,err:=m.RecvEvent(0); fmt.Println(ev,ad,v,err)
  time.Sleep(50*time.Millisecond)
  n,err:=r.SendMessageDontwait(id,"x"); fmt.Println(n,err)
 }
 r.Monitor("",0)
}
