
import subprocess, sys, time, pytest, urllib.request
from django.utils import timezone
from audit.actor import Actor
from keyvault_admin.access import services
from keyvault_admin.access.models import TotpDevice, User
from tests.people import next_code

def test_b(committed_db, as_role):
    from playwright.sync_api import sync_playwright
    from threading import Thread
    actor=Actor.system("command:x"); now=timezone.now()
    with as_role("command"):
        link=services.bootstrap_person(username="frances",mail="f@example.org",full_name="Frances Doe",role=__import__("keyvault_admin.access.roles",fromlist=["Role"]).Role.SECURITY,actor=actor,now=now)
    link=link.replace(link.split("/enrol/")[0],"http://localhost:8731")
    import os; os.environ["STATIC_ROOT"]="/tmp/acc_static"; subprocess.run([sys.executable,"manage.py","collectstatic","--noinput","-v0"],env=committed_db.environ(),check=True)
    srv=subprocess.Popen([sys.executable,"manage.py","runserver","--noreload","--insecure","localhost:8731"],env=committed_db.environ(KEYVAULT_ROLE="web"),stdout=open("/tmp/acc_srv.log","w"),stderr=subprocess.STDOUT)
    out={}
    def code(name):
        from django.db import connection
        r=next_code(TotpDevice.objects.get(user__username=name)); connection.close(); return r
    def pending():
        from django.db import connection
        d=TotpDevice.objects.get(); r=(next_code(d), d.seed()); connection.close(); return r
    def drive():
        try:
            for _ in range(60):
                try:
                    urllib.request.urlopen("http://localhost:8731/-/live"); break
                except Exception: time.sleep(.3)
            with sync_playwright() as p:
                b=p.chromium.launch(executable_path="/usr/bin/chromium",args=["--no-sandbox"])
                pg=b.new_page(viewport={"width":1440,"height":900}); msgs=[]; reqs=[]
                pg.on("console",lambda m: msgs.append(m.text)); pg.on("pageerror",lambda m: msgs.append(str(m))); pg.on("request",lambda r: reqs.append(r.url))
                pg.goto(link); pg.wait_for_timeout(400)
                out["url"]=pg.url; out["val"]=pg.input_value("[name=token]"); pg.screenshot(path="/tmp/acc1.png")
                pg.click("text=Continue"); pg.wait_for_load_state(); pg.screenshot(path="/tmp/acc2.png",full_page=True)
                pg.set_viewport_size({"width":390,"height":844}); pg.emulate_media(color_scheme="dark"); pg.screenshot(path="/tmp/acc2m.png",full_page=True)
                pg.emulate_media(color_scheme="light");pg.set_viewport_size({"width":1440,"height":900})
                c,seed=pending(); out["seed_in_page"]=seed.hex()
                pg.fill("[name=code]",c); pg.fill("[name=password]","correct horse battery staple"); pg.fill("[name=repeated]","correct horse battery staplf")
                pg.click("text=Finish"); pg.wait_for_load_state(); pg.screenshot(path="/tmp/acc3.png",full_page=True)
                pg.fill("[name=code]",c); pg.fill("[name=password]","correct horse battery staple"); pg.fill("[name=repeated]","correct horse battery staple")
                pg.click("text=Finish"); pg.wait_for_load_state(); pg.screenshot(path="/tmp/acc4.png",full_page=True); out["after"]=pg.url
                pg.fill("[name=username]","Frances"); pg.fill("[name=password]","correct horse battery staple"); pg.fill("[name=code]",c); pg.click("button:has-text('Sign in')"); pg.wait_for_load_state(); pg.screenshot(path="/tmp/acc5.png",full_page=True)
                pg.set_viewport_size({"width":390,"height":844}); pg.emulate_media(color_scheme="dark"); pg.screenshot(path="/tmp/acc5m.png",full_page=True); pg.set_viewport_size({"width":1440,"height":900}); pg.emulate_media(color_scheme="light")
                time.sleep(1.2)
                pg.fill("[name=username]","Frances"); pg.fill("[name=password]","correct horse battery staple"); pg.fill("[name=code]",code("frances")); pg.click("button:has-text('Sign in')"); pg.wait_for_load_state(); out["in"]=pg.url; pg.screenshot(path="/tmp/acc6.png")
                pg.goto("http://localhost:8731/access/user/"); pg.screenshot(path="/tmp/acc7.png"); pg.click("text=frances >> nth=-1") if False else pg.goto("http://localhost:8731/access/user/1/change/"); pg.screenshot(path="/tmp/acc8.png")
                pg.goto("http://localhost:8731/password_change/"); pg.screenshot(path="/tmp/acc9.png")
                out["msgs"]=msgs; out["leak"]=[u for u in reqs if link.split("#")[1] in u.split("#")[0]]
                b.close()
        except Exception as e: out["err"]=repr(e)
    t=Thread(target=drive); t.start(); t.join(90)
    srv.terminate(); srv.wait()
    print(out); open("/tmp/acc_out.txt","w").write(repr(out))
    assert "err" not in out, out
