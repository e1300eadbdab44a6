"""JupyterLab in headless Chromium, driven as a person does: by what is on the screen.

`Lab` is the server and the browser; its methods are what one does and sees in the open notebook.
"""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import pytest
from jupyter_kernels import free_ports
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

START_SECONDS = 60
MENU_SECONDS = 10

# Without these Chromium asks the internet for updates and certificates at every start.
CHROMIUM_OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1600",
]

# Every cell is in the page, also those out of sight; nothing asks the internet for news.
LAB_SETTINGS = {
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "checkForUpdates": False,
        "fetchNews": "false",
    },
}


class Lab:
    """One JupyterLab and the notebook that is open in it."""

    def __init__(self, driver, url):
        self.driver = driver
        self.url = url

    def open(self, notebook):
        """Opens a notebook of the served folder and waits until its kernel is ready."""
        self.driver.get(f"{self.url}/lab/tree/{notebook}?reset")
        self.wait(START_SECONDS, "an idle kernel", lambda: self.status() == "Idle")

    def status(self):
        """What the status bar says of the kernel: `Idle`, `Busy`, `Restarting`."""
        # The indicator of the toolbar says idle also when there is no kernel yet.
        shown = [item.text for item in self.all("#jp-main-statusbar .jp-StatusBar-TextItem")]
        return next((text.split(" | ")[1] for text in shown if " | " in text), "absent")

    def menu(self, menu, item):
        """Chooses an item of a menu in the menu bar."""
        self.click(f"//div[contains(@class,'lm-MenuBar-itemLabel') and text()='{menu}']")
        self.click(f"//div[contains(@class,'lm-Menu-itemLabel') and starts-with(text(),'{item}')]")

    def confirm(self):
        """Presses the button of a dialog that goes on."""
        self.click("//div[contains(@class,'jp-Dialog')]//button[contains(@class,'jp-mod-accept')]")

    def run_cell(self, index):
        """Runs one cell by its keyboard shortcut."""
        self.click_element(self.cells()[index].find_element(By.CSS_SELECTOR, ".jp-InputArea-editor"))
        self.keys(Keys.SHIFT, Keys.ENTER)

    def type(self, index, text):
        """Types at the end of a cell."""
        self.click_element(self.cells()[index].find_element(By.CSS_SELECTOR, ".jp-InputArea-editor"))
        self.keys(Keys.CONTROL, Keys.END)
        self.keys(text)

    def cells(self):
        """The code cells, in order."""
        return self.all(".jp-Notebook .jp-CodeCell")

    def prompt(self, index):
        """What stands left of a cell: `[*]:` while it runs, then its number."""
        return self.cells()[index].find_element(By.CSS_SELECTOR, ".jp-InputPrompt").text

    def output(self, index):
        """What a cell shows, as one reads it."""
        shown = self.cells()[index].find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output")
        return "\n".join(one.text for one in shown)

    def wait_until_ran(self, index, seconds):
        """Waits for the number of a cell that was run, and returns what it shows."""
        self.wait(seconds, f"cell {index} to end", lambda: re.match(r"\[\d+\]", self.prompt(index)))
        return self.output(index)

    def wait(self, seconds, what, condition):
        """Waits until the condition holds, and returns its value; says what was awaited."""
        waiting = WebDriverWait(
            self.driver, seconds, 0.02, ignored_exceptions=[StaleElementReferenceException, IndexError]
        )
        return waiting.until(lambda _: condition(), f"no {what} within {seconds} s")

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, path):
        """Clicks the element at an XPath as soon as it can be seen."""

        def visible():
            return next((e for e in self.driver.find_elements(By.XPATH, path) if e.is_displayed()), None)

        self.click_element(self.wait(MENU_SECONDS, path, visible))

    def click_element(self, element):
        webdriver.ActionChains(self.driver).scroll_to_element(element).click(element).perform()

    def keys(self, *keys):
        """Presses keys together; text is typed."""
        actions = webdriver.ActionChains(self.driver)
        for key in keys[:-1]:
            actions.key_down(key)
        actions.send_keys(keys[-1])
        for key in keys[:-1]:
            actions.key_up(key)
        actions.perform()

    def screenshot(self, path):
        self.driver.save_screenshot(str(path))


@pytest.fixture
def lab(home, jupyter_home, tmp_path, request):
    """JupyterLab that serves `tmp_path`; it ends before the cluster of `home`. The picture of a failed test is kept in pytest's folder."""
    with lab_server(jupyter_home, tmp_path) as url, chromium() as driver:
        lab = Lab(driver, url)
        failed = request.session.testsfailed
        yield lab
        if request.session.testsfailed > failed:
            lab.screenshot(tmp_path / "failed.png")
            print(f"screenshot: {tmp_path / 'failed.png'}")


@contextlib.contextmanager
def lab_server(jupyter_home, directory):
    """A JupyterLab server without a token, on loopback. Yields its address."""
    settings = jupyter_home / "lab-settings"
    for name, values in LAB_SETTINGS.items():
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        (settings / name).write_text(json.dumps(values))
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--notebook-dir={directory}"]
    command += [f"--LabApp.user_settings_dir={settings}", f"--LabApp.workspaces_dir={directory}/.workspaces"]
    log = directory / "jupyterlab.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for_server(f"{url}/api", server, log)
        yield url
    finally:
        # Asked politely it ends its kernels.
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for_server(url, server, log):
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            said = log.read_text()
            assert server.poll() is None, f"JupyterLab ended at its start:\n{said}"
            assert time.monotonic() < deadline, f"JupyterLab is not up after {START_SECONDS} s:\n{said}"
            time.sleep(0.05)


@contextlib.contextmanager
def chromium():
    """A headless Chromium with a profile of its own."""
    profile = tempfile.mkdtemp(prefix="bm-chromium-")
    options = webdriver.ChromeOptions()
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            options.binary_location = path
            break
    for option in [*CHROMIUM_OPTIONS, f"--user-data-dir={profile}"]:
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(pathlib.Path(profile), ignore_errors=True)
